"""Verdicts by their names, and an estimate, for tests of what judges and what counts verdicts."""

from __future__ import annotations

from qgate.records import Estimate, Verdict

PASS, FAIL, ERROR = Verdict.PASS, Verdict.FAIL, Verdict.ERROR
INCONCLUSIVE, SKIPPED, INCOMPLETE = Verdict.INCONCLUSIVE, Verdict.SKIPPED, Verdict.INCOMPLETE


def estimate(value: float = 0.1, level: float = 0.95, half_width: float = 0.01) -> Estimate:
    return Estimate(
        value=value,
        low=value - half_width,
        high=value + half_width,
        level=level,
        n=10,
        unit="nats",
        method="t",
    )
