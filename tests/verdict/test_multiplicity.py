"""Alarms on one artifact are one family: more of them make none of them easier to set off."""

from __future__ import annotations

import pytest
from statsmodels.stats.multitest import multipletests

from qgate.records import Estimate, Limit, SourceLine, Verdict
from qgate.verdict import adjust, explain, family_size, judge

NAMES = ("accuracy.a", "accuracy.b", "edge.math", "edge.repetition")


def limit(check: str, rule: str = "alarm") -> Limit:
    source = SourceLine("a.yaml", 1)
    return Limit(check=check, rule=rule, min=-0.05, source=source)  # type: ignore[arg-type]


def estimate(p_value: float | None) -> Estimate:
    ends = {"value": -0.08, "low": -0.12, "high": -0.01, "n": 200}
    return Estimate(
        **ends,
        level=0.95,
        unit="difference",
        method="planted",
        p_value=p_value,
        test="exact McNemar",
    )


def test_only_alarms_on_differences_belong_to_the_family() -> None:
    names = ("accuracy.a", "edge.math", "edge.long_input", "latency.tps", "mine.own")
    limits = {name: limit(name) for name in names}
    assert family_size({**limits, "accuracy.sure": limit("accuracy.sure", "certify")}) == 2
    assert family_size({}) == 1


@pytest.mark.parametrize(
    "planted", [(0.02, 0.001, 0.5, 0.013), (0.03, 0.02, 0.015, 0.014), (0.049, 0.2, 0.012, 0.9)]
)
def test_something_is_shown_where_holm_shows_something(planted: tuple[float, ...]) -> None:
    found = [
        adjust(estimate(p_value), limit(name), len(NAMES)).p_value
        for name, p_value in zip(NAMES, planted, strict=True)
    ]
    assert found == pytest.approx(multipletests(planted, method="bonferroni")[1])
    shown = [p_value <= 0.05 for p_value in found if p_value is not None]
    assert any(shown) == any(multipletests(planted, method="holm")[0])


def test_what_has_another_error_of_its_own_is_left_as_it_is() -> None:
    for own, held in (
        (estimate(0.03), limit("accuracy.a", "certify")),
        (estimate(0.03), limit("perplexity.ratio")),
        (estimate(None), limit("accuracy.a")),
    ):
        assert adjust(own, held, 4) is own


@pytest.mark.parametrize(("p_value", "verdict"), [(0.0124, "fail"), (0.0126, "pass")])
def test_one_of_four_alarms_fails_at_a_quarter_of_the_error(p_value: float, verdict: str) -> None:
    held = limit("accuracy.a")
    found = adjust(estimate(p_value), held, 4)
    assert judge(found, held) is Verdict(verdict)
    line = explain("accuracy.a", found, held, Verdict(verdict), family=4)
    assert "exact McNemar p = 0.05 corrected by Bonferroni for 4 alarms, n = 200 items" in line
