"""Alarms on one artifact are one family: more of them make none of them easier to set off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from qgate.alarms import Corrected, correct, family_of
from qgate.errors import MeasurementError
from qgate.gate import judge_row
from qgate.records import Estimate, Limit, SourceLine, Verdict

NAMES = ("accuracy.a", "accuracy.b", "edge.math", "edge.repetition")


@dataclass(frozen=True)
class Measured:
    """Samples of which the p-value is known."""

    p_value: float | None

    def estimate(self, check: str, level: float, parameters: Any) -> Estimate:
        ends = {"value": -0.08, "low": -0.12, "high": -0.01, "n": 200}
        return Estimate(
            **ends, level=level, unit="difference", method="planted", p_value=self.p_value
        )

    def details(self, check: str) -> dict[str, Any]:
        return {"lost": 16}


def limits(*names: str, rule: str = "alarm") -> dict[str, Limit]:
    source = SourceLine("a.yaml", 1)
    return {
        name: Limit(check=name, rule=rule, min=-0.05, source=source)  # type: ignore[arg-type]
        for name in names
    }


def adjusted(p_values: dict[str, float], check: str, *, family: tuple[str, ...] = NAMES) -> float:
    found = correct(
        check,
        Measured(p_values[check]),
        limits(*family),
        set(p_values),
        lambda name: Measured(p_values[name]),
    )
    p_value = found.estimate(check, 0.95, {}).p_value  # type: ignore[union-attr]
    assert p_value is not None
    return p_value


def test_only_alarms_on_differences_belong_to_the_family() -> None:
    family = family_of(
        {
            **limits("accuracy.a", "edge.math", "edge.long_input", "latency.tps", "mine.own"),
            **limits("accuracy.certified", rule="certify"),
        }
    )
    assert list(family) == ["accuracy.a", "edge.math"]


def test_p_values_are_those_of_holm() -> None:
    planted = dict(zip(NAMES, (0.02, 0.001, 0.5, 0.013), strict=True))
    expected = multipletests(list(planted.values()), method="holm")[1]
    assert [adjusted(planted, name) for name in NAMES] == pytest.approx(expected)


def test_rows_that_were_not_picked_only_make_the_others_stricter() -> None:
    assert adjusted({"accuracy.b": 0.01}, "accuracy.b") == pytest.approx(0.04)


def test_a_row_that_cannot_be_measured_counts_as_one_that_shows_nothing() -> None:
    def measure(name: str) -> Measured:
        raise MeasurementError(f"{name}: nothing")

    found = correct("accuracy.a", Measured(0.01), limits(*NAMES), NAMES, measure)
    assert isinstance(found, Corrected)
    assert found.p_value == pytest.approx(0.04)


def test_a_single_alarm_and_a_certified_row_are_left_as_they_are() -> None:
    own = Measured(0.03)

    def measure(name: str) -> Measured:
        raise AssertionError(name)

    assert correct("accuracy.a", own, limits("accuracy.a"), {"accuracy.a"}, measure) is own
    assert correct("perplexity.ratio", own, limits(*NAMES), set(NAMES), measure) is own


@pytest.mark.parametrize(("p_value", "verdict"), [(0.0124, "fail"), (0.0126, "pass")])
def test_one_of_four_alarms_fails_at_a_quarter_of_the_error(p_value: float, verdict: str) -> None:
    measured = correct("accuracy.a", Measured(p_value), limits(*NAMES), (), lambda _: Measured(1.0))
    record = judge_row("accuracy.a", limits("accuracy.a")["accuracy.a"], measured)
    assert record.verdict is Verdict(verdict)
    assert record.details["family"] == 4
    assert "exact McNemar p = 0.05 of 4 alarms, n = 200 items" in record.message
