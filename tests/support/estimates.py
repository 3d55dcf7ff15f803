"""Estimates and limits to judge, with one line in one file."""

from __future__ import annotations

import dataclasses

from qgate.records import Estimate, Limit, SourceLine, Verdict

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
SOURCE = SourceLine("thresholds/default.yaml", 14)


def an_estimate(low: float, value: float, high: float, **changes: object) -> Estimate:
    whole = Estimate(value=value, low=low, high=high, level=0.95, n=4080, unit="ratio", method="t")
    tested = {"test": "exact McNemar"} if "p_value" in changes else {}
    return dataclasses.replace(whole, **{**tested, **changes})


def answers(value: float, p_value: float, **changes: object) -> Estimate:
    """Paired yes/no answers to 200 items."""
    low, high = value - 0.05, value + 0.04
    return an_estimate(low, value, high, n=200, unit="difference", p_value=p_value, **changes)


def exactly(value: float, unit: str = "ratio") -> Estimate:
    return an_estimate(value, value, value, n=1, unit=unit, method="exact")


def a_limit(check: str = "perplexity.ratio", rule: str = "certify", **bounds: float) -> Limit:
    return Limit(check=check, rule=rule, source=SOURCE, **bounds)


LANGUAGES = {
    "de": an_estimate(1.005, 1.01, 1.02),
    "hi": an_estimate(1.02, 1.05, 1.09),
    "zh": an_estimate(1.04, 1.06, 1.08),
}
