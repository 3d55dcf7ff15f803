from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError, ThresholdsError
from qgate.verdict import judge, judge_family
from tests.support.estimates import (
    FAIL,
    INCONCLUSIVE,
    LANGUAGES,
    PASS,
    a_limit,
    an_estimate,
    answers,
)

if TYPE_CHECKING:
    from qgate.records import Verdict

# Every position of the interval's ends around a bound of 3: below, on and above it.
POSITIONS = [(low, high) for low in (1, 2, 3, 4, 5) for high in (1, 2, 3, 4, 5) if low <= high]


def expected_for_upper(low: float, high: float, rule: str) -> Verdict:
    if low > 3:
        return FAIL
    if rule == "alarm":
        return PASS
    return {True: PASS, False: INCONCLUSIVE}[high in (1, 2, 3)]


@pytest.mark.parametrize("rule", ["certify", "alarm"])
@pytest.mark.parametrize(("low", "high"), POSITIONS)
def test_upper_limit_follows_the_truth_table(low: float, high: float, rule: str) -> None:
    estimate = an_estimate(low, (low + high) / 2, high)
    assert judge(estimate, a_limit(rule=rule, max=3.0)) is expected_for_upper(low, high, rule)


@pytest.mark.parametrize("rule", ["certify", "alarm"])
@pytest.mark.parametrize(("low", "high"), POSITIONS)
def test_lower_limit_is_the_mirror_image(low: float, high: float, rule: str) -> None:
    mirrored = an_estimate(-high, -(low + high) / 2, -low)
    assert judge(mirrored, a_limit(rule=rule, min=-3.0)) is expected_for_upper(low, high, rule)


@pytest.mark.parametrize(
    ("low", "high", "certified", "alarmed"),
    [
        (2.0, 4.0, PASS, PASS),
        (2.5, 3.5, PASS, PASS),
        (1.5, 3.5, INCONCLUSIVE, PASS),
        (2.5, 4.5, INCONCLUSIVE, PASS),
        (1.0, 5.0, INCONCLUSIVE, PASS),
        (1.0, 1.9, FAIL, FAIL),
        (4.1, 5.0, FAIL, FAIL),
    ],
)
def test_two_bounds_must_both_hold_and_either_can_break(
    low: float, high: float, certified: Verdict, alarmed: Verdict
) -> None:
    estimate = an_estimate(low, (low + high) / 2, high)
    assert judge(estimate, a_limit(min=2.0, max=4.0)) is certified
    assert judge(estimate, a_limit(rule="alarm", min=2.0, max=4.0)) is alarmed


# One-sided, as the test is: at level 0.95 the error is 0.05. McNemar's p-values are sums of 2^-n.
@pytest.mark.parametrize("p_value", [0.0, 1e-9, 0.0499, 0.05, 0.0501, 0.5, 1.0])
@pytest.mark.parametrize("value", [-0.2, -0.051, -0.05, -0.049, 0.0, 0.1])
def test_alarm_on_paired_answers_needs_damage_that_is_shown_and_large(
    value: float, p_value: float
) -> None:
    estimate = answers(value, p_value)
    expected = FAIL if value in (-0.2, -0.051) and p_value in (0.0, 1e-9, 0.0499, 0.05) else PASS
    assert judge(estimate, a_limit("accuracy.code", rule="alarm", min=-0.05)) is expected
    risen = answers(-value, p_value)
    assert judge(risen, a_limit("edge.repetition", rule="alarm", max=0.05)) is expected


@pytest.mark.parametrize(("level", "p_value", "verdict"), [(0.95, 0.02, FAIL), (0.99, 0.02, PASS)])
def test_alarm_on_paired_answers_keeps_the_error_of_the_limits_level(
    level: float, p_value: float, verdict: Verdict
) -> None:
    limit = dataclasses.replace(a_limit("accuracy.code", rule="alarm", min=-0.05), level=level)
    assert judge(answers(-0.16, p_value, level=level), limit) is verdict


@pytest.mark.parametrize("p_value", [None, 0.0, 1e-9, 0.5, 1.0])
@pytest.mark.parametrize(("low", "high"), POSITIONS)
def test_certified_rows_and_limits_with_two_bounds_go_by_the_interval_alone(
    low: float, high: float, p_value: float | None
) -> None:
    estimate = an_estimate(low, (low + high) / 2, high, p_value=p_value)
    assert judge(estimate, a_limit(max=3.0)) is expected_for_upper(low, high, "certify")
    both = a_limit(rule="alarm", min=-1.0, max=3.0)
    assert judge(estimate, both) is expected_for_upper(low, high, "alarm")


@pytest.mark.parametrize("p_value", [math.nan, -0.01, 1.01, math.inf])
def test_a_p_value_that_is_none_is_refused_not_passed(p_value: float) -> None:
    limit = a_limit("accuracy.code", rule="alarm", min=-0.05)
    with pytest.raises(MeasurementError) as refusal:
        judge(answers(-0.2, p_value), limit)
    assert str(refusal.value) == (
        f"accuracy.code: got a p-value of {p_value}; expected 0 to 1 (thresholds/default.yaml:14)."
    )


@pytest.mark.parametrize("rule", ["certify", "alarm"])
@pytest.mark.parametrize(
    ("bounds", "shown"),
    [
        ({}, "min None, max None"),
        ({"max": math.nan}, "min None, max nan"),
        ({"min": math.inf}, "min inf, max None"),
        ({"min": 1.0, "max": math.nan}, "min 1.0, max nan"),
    ],
)
def test_limit_without_a_finite_bound_is_refused_not_passed(
    bounds: dict[str, float], shown: str, rule: str
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        judge(an_estimate(1, 2, 3), a_limit(rule=rule, **bounds))
    assert str(refusal.value) == (
        f"thresholds/default.yaml:14: perplexity.ratio: got {shown}; expected a finite bound."
    )


@pytest.mark.parametrize("level", [0.9, 0.99])
def test_interval_of_another_level_than_the_limit_asks_for_is_refused(level: float) -> None:
    with pytest.raises(MeasurementError) as refusal:
        judge(an_estimate(1, 2, 3, level=level), a_limit(max=5.0))
    assert str(refusal.value) == (
        f"perplexity.ratio: got an interval at level {level}; expected 0.95 "
        "(thresholds/default.yaml:14)."
    )


@pytest.mark.parametrize(
    ("bound", "rule", "told"),
    [
        (1.1, "certify", ("hi", PASS)),
        (1.1, "alarm", ("hi", PASS)),
        # hi and zh cannot be told from the limit; hi may be worse
        (1.05, "certify", ("hi", INCONCLUSIVE)),
        (1.05, "alarm", ("hi", PASS)),
        # zh alone is beyond it for certain, though hi may be worse
        (1.03, "certify", ("zh", FAIL)),
        (1.03, "alarm", ("zh", FAIL)),
        # hi and zh are: zh more surely
        (1.015, "certify", ("zh", FAIL)),
        # all are
        (1.0, "alarm", ("zh", FAIL)),
    ],
)
def test_a_family_is_as_good_as_its_worst_member(
    bound: float, rule: str, told: tuple[str, Verdict]
) -> None:
    limit = a_limit("edge.multilingual", rule=rule, max=bound)
    assert judge_family(LANGUAGES, limit) == told
    backwards = dict(reversed(LANGUAGES.items()))
    assert judge_family(backwards, limit) == told


@pytest.mark.parametrize("bound", [1.1, 1.05, 1.03, 1.015, 1.0])
@pytest.mark.parametrize("rule", ["certify", "alarm"])
def test_a_family_with_a_lower_limit_is_the_mirror_image(bound: float, rule: str) -> None:
    mirrored = {
        name: an_estimate(-found.high, -found.value, -found.low)
        for name, found in LANGUAGES.items()
    }
    limit = a_limit("edge.multilingual", rule=rule, max=bound)
    below = a_limit("edge.multilingual", rule=rule, min=-bound)
    assert judge_family(mirrored, below) == judge_family(LANGUAGES, limit)


def test_a_family_of_two_bounds_tells_of_the_one_that_is_nearest() -> None:
    limit = a_limit("style.length", min=0.99, max=1.1)
    members = {**LANGUAGES, "fr": an_estimate(0.991, 1.0, 1.01)}
    assert judge_family(members, limit) == ("fr", PASS)


def test_a_family_of_one_is_judged_as_that_one() -> None:
    limit = a_limit("edge.multilingual", max=1.05)
    assert judge_family({"hi": LANGUAGES["hi"]}, limit) == ("hi", judge(LANGUAGES["hi"], limit))


def test_a_family_without_members_is_refused_not_passed() -> None:
    with pytest.raises(MeasurementError) as refusal:
        judge_family({}, a_limit("edge.multilingual", rule="alarm", max=1.05))
    assert str(refusal.value) == "edge.multilingual: got no members; expected at least 1."


def test_a_members_lost_level_is_not_hidden_by_the_others() -> None:
    members = {**LANGUAGES, "fr": an_estimate(1.0, 1.0, 1.0, level=0.9)}
    with pytest.raises(MeasurementError, match=r"got an interval at level 0\.9; expected 0\.95"):
        judge_family(members, a_limit("edge.multilingual", max=1.01))


@pytest.mark.parametrize("rule", ["certify", "alarm"])
@pytest.mark.parametrize(("low", "high"), POSITIONS)
def test_an_open_lower_bound_fails_what_it_breaks_and_passes_nothing(
    low: float, high: float, rule: str
) -> None:
    bound = an_estimate(low, (low + high) / 2, high, lower_bound="half was compared", is_open=True)

    assert judge(bound, a_limit(rule=rule, max=3.0)) is (FAIL if low > 3 else INCONCLUSIVE)


def test_a_lower_bound_that_leaves_little_open_is_judged_as_any_number() -> None:
    bound = an_estimate(1.0, 1.5, 2.0, lower_bound="nearly all was compared")

    assert judge(bound, a_limit(max=3.0)) is PASS
