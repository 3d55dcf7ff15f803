"""Alarms on one artifact are one family: more of them make none of them easier to set off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from statsmodels.stats.multitest import multipletests

from qgate.errors import MeasurementError, NotApplicable
from qgate.gate.multiplicity import Corrected, correct, family_of
from qgate.gate.row import judge_row
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


def adjusted(p_values: dict[str, float], check: str) -> float:
    found = correct(
        check, Measured(p_values[check]), limits(*NAMES), lambda name: Measured(p_values[name])
    )
    p_value = found.estimate(check, 0.95, {}).p_value  # type: ignore[union-attr]
    assert p_value is not None
    return p_value


def nobody(name: str) -> Measured:
    raise AssertionError(f"{name} was measured")


def test_only_alarms_on_differences_belong_to_the_family() -> None:
    family = family_of(
        {
            **limits("accuracy.a", "edge.math", "edge.long_input", "latency.tps", "mine.own"),
            **limits("accuracy.certified", rule="certify"),
        }
    )
    assert list(family) == ["accuracy.a", "edge.math"]


@pytest.mark.parametrize(
    "planted", [(0.02, 0.001, 0.5, 0.013), (0.03, 0.02, 0.015, 0.014), (0.049, 0.2, 0.012, 0.9)]
)
def test_what_is_shown_is_what_holm_shows(planted: tuple[float, ...]) -> None:
    by_name = dict(zip(NAMES, planted, strict=True))
    holm = multipletests(planted, method="holm")[1]
    found = [adjusted(by_name, name) for name in NAMES]
    assert [one <= 0.05 for one in found] == [one <= 0.05 for one in holm]
    between = [0.05 / 4 < own <= 0.05 for own in planted]
    for ours, theirs, decides in zip(found, holm, between, strict=True):
        # elsewhere Bonferroni's, which decides alike and needs no other row
        assert ours == pytest.approx(theirs) if decides else ours >= theirs or ours > 0.05


@pytest.mark.parametrize("p_value", [0.012, 0.051, 0.9])
def test_rows_that_decide_by_themselves_ask_for_no_others(p_value: float) -> None:
    found = correct("accuracy.b", Measured(p_value), limits(*NAMES), nobody)
    assert isinstance(found, Corrected)
    assert found.p_value == pytest.approx(min(1.0, 4 * p_value))


def test_a_row_that_cannot_be_measured_counts_as_one_that_shows_nothing() -> None:
    def measure(name: str) -> Measured:
        raise MeasurementError(f"{name}: nothing")

    found = correct("accuracy.a", Measured(0.02), limits(*NAMES), measure)
    assert isinstance(found, Corrected)
    assert found.p_value == pytest.approx(0.08)


def test_a_row_that_does_not_apply_is_no_alarm() -> None:
    def measure(name: str) -> Measured:
        raise NotApplicable(f"{name}: unknown")

    found = correct("accuracy.a", Measured(0.02), limits(*NAMES), measure)
    assert isinstance(found, Corrected)
    assert (found.p_value, found.family) == (pytest.approx(0.02), 1)


def test_a_single_alarm_and_a_certified_row_are_left_as_they_are() -> None:
    own = Measured(0.03)
    assert correct("accuracy.a", own, limits("accuracy.a"), nobody) is own
    assert correct("perplexity.ratio", own, limits(*NAMES), nobody) is own


@pytest.mark.parametrize(("p_value", "verdict"), [(0.0124, "fail"), (0.0126, "pass")])
def test_one_of_four_alarms_fails_at_a_quarter_of_the_error(p_value: float, verdict: str) -> None:
    measured = correct("accuracy.a", Measured(p_value), limits(*NAMES), lambda _: Measured(1.0))
    record = judge_row("accuracy.a", limits("accuracy.a")["accuracy.a"], measured)
    assert record.verdict is Verdict(verdict)
    assert record.details["family"] == 4
    assert "exact McNemar p = 0.05 of 4 alarms, n = 200 items" in record.message
