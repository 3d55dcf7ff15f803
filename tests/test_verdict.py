from __future__ import annotations

import dataclasses
import math

import pytest

from qgate.errors import MeasurementError, ThresholdsError
from qgate.records import Estimate, Limit, SourceLine, Verdict
from qgate.verdict import explain, format_value, judge, samples_to_decide, smallest_detectable

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE
SOURCE = SourceLine("thresholds/default.yaml", 14)


def an_estimate(low: float, value: float, high: float, **changes: object) -> Estimate:
    whole = Estimate(value=value, low=low, high=high, level=0.95, n=4080, unit="ratio", method="t")
    return dataclasses.replace(whole, **changes)


def a_limit(check: str = "perplexity.ratio", rule: str = "certify", **bounds: float) -> Limit:
    return Limit(check=check, rule=rule, source=SOURCE, **bounds)


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


BASIS = "(95 % CI, n = 4 080 tokens; thresholds/default.yaml:14)"
STORIES = {
    "certified failure": (
        an_estimate(1.038, 1.043, 1.049, n=16320),
        a_limit(max=1.03),
        "perplexity.ratio: 1.043 [1.038, 1.049] > 1.030 (95 % CI, n = 16 320 tokens; "
        "thresholds/default.yaml:14); see the worst windows in the report",
    ),
    "certified pass": (
        an_estimate(1.01, 1.012, 1.014),
        a_limit(max=1.03),
        f"perplexity.ratio: 1.012 [1.010, 1.014] <= 1.030 {BASIS}",
    ),
    # half-width 0.008, distance 0.002: 16 times the tokens, 15 x 4 080 more
    "inconclusive, probably good": (
        an_estimate(1.02, 1.028, 1.036),
        a_limit(max=1.03),
        f"inconclusive: perplexity.ratio: 1.028 [1.020, 1.036], limit 1.030 {BASIS}; "
        "about 62 000 more tokens would decide",
    ),
    # towards the limit is downwards now: half-width 0.004, distance 0.002
    "inconclusive, probably bad": (
        an_estimate(1.028, 1.032, 1.05),
        a_limit(max=1.03),
        f"inconclusive: perplexity.ratio: 1.032 [1.028, 1.050], limit 1.030 {BASIS}; "
        "about 13 000 more tokens would decide",
    ),
    "inconclusive on the limit": (
        an_estimate(1.02, 1.03, 1.04),
        a_limit(max=1.03),
        f"inconclusive: perplexity.ratio: 1.030 [1.020, 1.040], limit 1.030 {BASIS}; "
        "the value sits on the limit: no affordable number of tokens decides",
    ),
    "lower limit of a share, shown in percent": (
        an_estimate(0.868, 0.881, 0.893, unit="fraction"),
        a_limit("divergence.same_top", min=0.9),
        f"divergence.same_top: 88.1 % [86.8 %, 89.3 %] < 90.0 % {BASIS}; "
        "see the worst windows in the report",
    ),
    "lower limit held": (
        an_estimate(0.92, 0.93, 0.94, unit="fraction"),
        a_limit("divergence.same_top", min=0.9),
        f"divergence.same_top: 93.0 % [92.0 %, 94.0 %] >= 90.0 % {BASIS}",
    ),
    "numbers that would read alike get more digits": (
        an_estimate(1.03001, 1.03003, 1.03005),
        a_limit(max=1.03),
        f"perplexity.ratio: 1.03003 [1.03001, 1.03005] > 1.03000 {BASIS}; "
        "see the worst windows in the report",
    ),
    # half-width 0.008; 0.008 x (1 + 0.8416 / 1.96) = 0.0114 above the limit
    "silent alarm": (
        an_estimate(1.02, 1.028, 1.036),
        a_limit(rule="alarm", max=1.03),
        f"perplexity.ratio: 1.028 [1.020, 1.036], alarm limit 1.030 {BASIS}; no damage seen; "
        "would have seen 1.041 or more (4 times in 5)",
    ),
    "silent alarm below": (
        an_estimate(0.89, 0.91, 0.93, unit="fraction"),
        a_limit("divergence.same_top", rule="alarm", min=0.9),
        f"divergence.same_top: 91.0 % [89.0 %, 93.0 %], alarm limit 90.0 % {BASIS}; "
        "no damage seen; would have seen 87.1 % or less (4 times in 5)",
    ),
    "alarm": (
        an_estimate(1.038, 1.043, 1.049),
        a_limit(rule="alarm", max=1.03),
        f"perplexity.ratio: 1.043 [1.038, 1.049] > 1.030 {BASIS}; "
        "see the worst windows in the report",
    ),
    "a team's own check, two bounds, the upper one broken": (
        an_estimate(12.0, 13.0, 14.0, unit="words"),
        a_limit("style.length", min=5.0, max=10.0),
        "style.length: 13 words [12 words, 14 words] > 10 words (95 % CI, n = 4 080 samples; "
        "thresholds/default.yaml:14); see the worst samples in the report",
    ),
}


@pytest.mark.parametrize("story", STORIES)
def test_line_tells_the_story(story: str) -> None:
    estimate, limit, line = STORIES[story]
    assert explain(limit.check, estimate, limit, judge(estimate, limit)) == line


def test_level_of_the_limit_is_in_the_line() -> None:
    limit = dataclasses.replace(a_limit(max=1.03), level=0.999)
    estimate = an_estimate(1.0, 1.01, 1.02, level=0.999)
    line = explain(limit.check, estimate, limit, judge(estimate, limit))
    assert "(99.9 % CI, n = 4 080 tokens;" in line


def test_predicted_number_of_samples_puts_the_interval_on_the_limit() -> None:
    estimate = an_estimate(1.02, 1.028, 1.036)
    more = samples_to_decide(estimate, 1.03, is_upper=True)
    assert more is not None
    half_width = 0.008 * math.sqrt(estimate.n / (estimate.n + more))
    assert 1.028 + half_width == pytest.approx(1.03, abs=1e-6)


def test_value_so_near_the_limit_that_nothing_decides_is_named_so() -> None:
    estimate = an_estimate(1.02, 1.0299, 1.04)
    assert samples_to_decide(estimate, 1.03, is_upper=True) is None


def test_smallest_detectable_damage_sets_the_alarm_off_four_times_in_five() -> None:
    # The standard error behind a half-width of 1.96 is 1; the alarm goes off where low > 10.
    seen = smallest_detectable(an_estimate(8.04, 10, 11.96), 10.0, is_upper=True)
    goes_off = 1 - (1 + math.erf((11.96 - seen) / math.sqrt(2))) / 2
    assert goes_off == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (1.0, "ratio", "1.000"),
        (0.5, "perplexity", "0.500"),
        (0.0, "perplexity", "0.000"),
        (0.00153, "perplexity", "0.0015"),
        (-0.0021, "perplexity", "-0.0021"),
        (51.4828, "perplexity", "51.483"),
        (10276129.3, "perplexity", "10276129"),
        (0.0, "nats", "0.00"),
        (0.0024341, "nats", "0.00243"),
        (0.332, "nats", "0.332"),
        (3.575, "nats", "3.58"),
        (0.9123, "fraction", "91.2 %"),
        (1.0, "fraction", "100.0 %"),
        (0.99994, "fraction", "99.99 %"),
        (142.0, "ms", "142 ms"),
    ],
)
def test_value_is_shown_with_the_digits_of_its_unit(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text
