from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import stats
from qgate.verdict import explain, judge, judge_family, would_have_seen
from qgate.verdict.message import samples_to_decide, smallest_detectable
from tests.support.estimates import LANGUAGES, PASS, a_limit, an_estimate, exactly

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Estimate, Limit

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
        "the value sits on the limit: no affordable number of tokens decides. Decide it by a limit "
        "of your own on perplexity.ratio, under artifacts in your thresholds file",
    ),
    "a lower bound that passes nothing": (
        an_estimate(1.02, 1.028, 1.036, lower_bound="half was compared. Set WHOLE=1", is_open=True),
        a_limit(max=1.05),
        f"inconclusive: perplexity.ratio: at least 1.028 [1.020, 1.036], limit 1.050 {BASIS}; "
        "half was compared. Set WHOLE=1",
    ),
    "a lower bound that is too high": (
        an_estimate(1.038, 1.043, 1.049, lower_bound="half was compared", is_open=True),
        a_limit(max=1.03),
        f"perplexity.ratio: at least 1.043 [1.038, 1.049] > 1.030 {BASIS}; "
        "see the worst windows in the report",
    ),
    "a lower bound that leaves little open": (
        an_estimate(1.01, 1.012, 1.014, lower_bound="nearly all was compared"),
        a_limit(max=1.03),
        f"perplexity.ratio: at least 1.012 [1.010, 1.014] <= 1.030 {BASIS}; "
        "nearly all was compared",
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
    "silent alarm that saw damage": (
        an_estimate(1.02, 1.028, 1.036),
        a_limit(rule="alarm", max=1.03),
        f"perplexity.ratio: 1.028 [1.020, 1.036], alarm limit 1.030 {BASIS}; "
        "damage is seen, but not shown beyond the limit",
    ),
    "silent alarm that saw large damage, and not surely": (
        an_estimate(1.01, 1.3, 1.72, n=96),
        a_limit("edge.answer_length", rule="alarm", max=1.1),
        "edge.answer_length: 1.300 [1.010, 1.720], alarm limit 1.100 (95 % CI, n = 96 answers; "
        "thresholds/default.yaml:14); damage is seen, but not shown beyond the limit",
    ),
    "silent alarm that saw nothing": (
        an_estimate(0.992, 1.004, 1.016),
        a_limit(rule="alarm", max=1.03),
        f"perplexity.ratio: 1.004 [0.992, 1.016], alarm limit 1.030 {BASIS}; no damage seen",
    ),
    "silent alarm of a unit in which nothing is undamaged": (
        an_estimate(98.0, 110.0, 123.0, n=200, unit="ms"),
        a_limit("latency.ttft_slo", rule="alarm", max=120.0),
        "latency.ttft_slo: 110.0 ms [98.0, 123.0], alarm limit 120.0 ms (95 % CI, n = 200 requests;"
        " thresholds/default.yaml:14); not shown to be beyond the limit",
    ),
    "silent alarm below": (
        an_estimate(0.89, 0.91, 0.93, unit="fraction"),
        a_limit("divergence.same_top", rule="alarm", min=0.9),
        f"divergence.same_top: 91.0 % [89.0 %, 93.0 %], alarm limit 90.0 % {BASIS}; "
        "damage is seen, but not shown beyond the limit",
    ),
    "alarm": (
        an_estimate(1.038, 1.043, 1.049),
        a_limit(rule="alarm", max=1.03),
        f"perplexity.ratio: 1.043 [1.038, 1.049] > 1.030 {BASIS}; "
        "see the worst windows in the report",
    ),
    "alarm on paired answers": (
        an_estimate(-0.221, -0.16, -0.106, n=200, unit="difference", p_value=1.2e-9),
        a_limit("accuracy.drill", rule="alarm", min=-0.05),
        "accuracy.drill: -16.0 pp [-22.1, -10.6] < -5.0 pp (exact McNemar p = 1e-09, "
        "n = 200 items; thresholds/default.yaml:14); see the flips in the report",
    ),
    "silent alarm on paired answers": (
        an_estimate(-0.044, -0.015, 0.012, n=200, unit="difference", p_value=0.227),
        a_limit("accuracy.code", rule="alarm", min=-0.05),
        "accuracy.code: -1.5 pp [-4.4, +1.2], alarm limit -5.0 pp (exact McNemar p = 0.2, "
        "n = 200 items; thresholds/default.yaml:14); no damage seen",
    ),
    "silent alarm of a family, whose interval excludes no damage": (
        an_estimate(-0.11, -0.06, -0.01, n=200, unit="difference", p_value=0.2),
        a_limit("accuracy.code", rule="alarm", min=-0.05),
        "accuracy.code: -6.0 pp [-11.0, -1.0], alarm limit -5.0 pp (exact McNemar p = 0.2, "
        "n = 200 items; thresholds/default.yaml:14); damage is not shown beyond doubt",
    ),
    "damage that is shown and small": (
        an_estimate(-0.044, -0.03, -0.011, n=2000, unit="difference", p_value=0.0007),
        a_limit("edge.math", rule="alarm", min=-0.05),
        "edge.math: -3.0 pp [-4.4, -1.1], alarm limit -5.0 pp (exact McNemar p = 0.0007, "
        "n = 2 000 items; thresholds/default.yaml:14); damage is seen, but not beyond the limit",
    ),
    "alarm above on paired answers": (
        an_estimate(0.042, 0.104, 0.181, n=96, unit="difference", p_value=0.00098),
        a_limit("edge.repetition", rule="alarm", max=0.05),
        "edge.repetition: +10.4 pp [+4.2, +18.1] > +5.0 pp (exact McNemar p = 0.001, "
        "n = 96 answers; thresholds/default.yaml:14); see the answers in the report",
    ),
    "certified paired answers": (
        an_estimate(-0.018, 0.0, 0.018, n=200, unit="difference", p_value=1.0),
        a_limit("accuracy.code", min=-0.02),
        "accuracy.code: 0.0 pp [-1.8, +1.8] >= -2.0 pp (95 % CI, n = 200 items; "
        "thresholds/default.yaml:14)",
    ),
    # half-width 0.028, distance 0.017: 2.71 times the 24 pairs
    "inconclusive latency": (
        an_estimate(0.908, 0.933, 0.961, n=24),
        a_limit("latency.tps", min=0.95),
        "inconclusive: latency.tps: 0.933 [0.908, 0.961], limit 0.950 (95 % CI, n = 24 pairs; "
        "thresholds/default.yaml:14); latency: {pairs: 66} would decide",
    ),
    "latency failed": (
        an_estimate(1.08, 1.1, 1.13, n=24),
        a_limit("latency.itl", rule="alarm", max=1.05),
        "latency.itl: 1.100 [1.080, 1.130] > 1.050 (95 % CI, n = 24 pairs; "
        "thresholds/default.yaml:14); see the raw times in the report",
    ),
    "a percentile says which": (
        an_estimate(138.0, 142.0, 151.0, n=200, unit="ms"),
        dataclasses.replace(a_limit("latency.ttft_slo", max=120.0), parameters={"percentile": 95}),
        "latency.ttft_slo: p95 142.0 ms [138.0, 151.0] > 120.0 ms (95 % CI, n = 200 requests; "
        "thresholds/default.yaml:14); see the raw times in the report",
    ),
    "growing memory has nothing more to show": (
        an_estimate(8000.0, 9000.0, 10000.0, n=60, unit="bytes"),
        a_limit("memory.growth", rule="alarm", max=4096.0),
        "memory.growth: +9000 B [+8000, +10000] > +4096 B (95 % CI, n = 60 batches; "
        "thresholds/default.yaml:14)",
    ),
    "an exact row has neither interval nor n": (
        exactly(0.532),
        a_limit("memory.weights", max=1.0),
        "memory.weights: 0.532 <= 1 (exact; thresholds/default.yaml:14)",
    ),
    "an exact row just beyond its limit shows by how much": (
        exactly(1.0004),
        a_limit("memory.peak", max=1.0),
        "memory.peak: 1.0004 > 1 (exact; thresholds/default.yaml:14)",
    ),
    "a silent exact alarm has seen everything": (
        exactly(0.714),
        a_limit("memory.peak", rule="alarm", max=1.0),
        "memory.peak: 0.714 <= 1 (exact; thresholds/default.yaml:14)",
    ),
    "a budget says what it is for": (
        exactly(4.211, unit="GiB"),
        dataclasses.replace(
            a_limit("memory.fits", max=24.0),
            parameters={"is_vram": 1.0, "context": 8192, "sequences": 1},
        ),
        "memory.fits: 4.21 GiB <= 24 GiB VRAM at 8192 tokens (exact; thresholds/default.yaml:14)",
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


SETTINGS = {
    # 16 times the tokens, so 16 times the windows
    "perplexity.ratio": (64, "text: {windows: 1100} would decide"),
    "divergence.kl_mean": (64, "text: {windows: 1100} would decide"),
    "accuracy.arc_easy": (0, "tasks: {arc_easy: {max_samples: 66000}} would decide"),
    "latency.itl": (0, "latency: {pairs: 66000} would decide"),
    "memory.growth": (0, "memory: {batches: 66000} would decide"),
    "edge.long_input": (0, "no setting asks for more tokens: write rule: alarm in its limit"),
    "style.length": (0, "about 62 000 more samples would decide"),
}


@pytest.mark.parametrize("check", SETTINGS)
def test_an_undecided_row_names_the_setting_that_would_decide(check: str) -> None:
    asked, remedy = SETTINGS[check]
    estimate, limit = an_estimate(1.02, 1.028, 1.036), a_limit(check, max=1.03)
    line = explain(check, estimate, limit, judge(estimate, limit), asked=asked)
    assert line.endswith(f"; {remedy}")


@pytest.mark.parametrize(
    ("estimate", "limit", "seen"),
    [
        # half-width 0.008; 0.008 x (1 + 0.8416 / 1.96) = 0.0114 above the limit
        (an_estimate(1.02, 1.028, 1.036), a_limit(rule="alarm", max=1.03), "1.041 or more"),
        (
            an_estimate(0.89, 0.91, 0.93, unit="fraction"),
            a_limit("divergence.same_top", rule="alarm", min=0.9),
            "87.1 % or less",
        ),
        # half-width 0.027: 0.05 + 0.4294 x 0.027 = 0.0616, more than 0.0386 that are told from none
        (
            an_estimate(-0.044, -0.015, 0.012, n=200, unit="difference", p_value=0.227),
            a_limit("accuracy.code", rule="alarm", min=-0.05),
            "-6.2 pp or less",
        ),
        (exactly(0.714), a_limit("memory.peak", rule="alarm", max=1.0), ""),
        (an_estimate(1.01, 1.012, 1.014), a_limit(max=1.03), ""),
    ],
    ids=["ratio", "share", "paired answers", "exact: it has seen everything", "no alarm"],
)
def test_what_a_silent_alarm_would_have_seen(estimate: Estimate, limit: Limit, seen: str) -> None:
    assert would_have_seen(estimate, limit) == seen


def test_a_limit_of_a_band_says_whom_it_is_for() -> None:
    limit = dataclasses.replace(a_limit(max=1.03), band="4 bits")
    estimate = an_estimate(1.01, 1.012, 1.014)
    line = explain(limit.check, estimate, limit, judge(estimate, limit))
    assert line.endswith("n = 4 080 tokens; thresholds/default.yaml:14, 4 bits)")


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


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize(
    ("make", "tests"),
    [
        (stats.paired_scores, ("paired t", "paired t")),
        (stats.paired_difference, ("exact McNemar", "sign-flip")),
    ],
)
def test_the_line_names_the_test_that_the_alarm_goes_by(
    make: Callable[..., Estimate], tests: tuple[str, str], grouped: bool
) -> None:
    reference = np.ones(60)
    artifact = np.where(np.arange(60) % 4 == 0, 0.0, 1.0)
    groups = np.arange(60) // 3 if grouped else None
    limit = a_limit("accuracy.summaries", rule="alarm", min=-0.05)
    estimate = make(artifact, reference, groups, level=0.95)
    line = explain(limit.check, estimate, limit, judge(estimate, limit), family=4)
    assert f"({tests[grouped]} p = " in line
    assert " corrected by Bonferroni for 4 alarms, n = 60 items; " in line


def test_smallest_detectable_damage_sets_the_alarm_off_four_times_in_five() -> None:
    # The standard error behind a half-width of 1.96 is 1; the alarm goes off where low > 10.
    seen = smallest_detectable(an_estimate(8.04, 10, 11.96), 10.0, is_upper=True)
    goes_off = 1 - (1 + math.erf((11.96 - seen) / math.sqrt(2))) / 2
    assert goes_off == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize("family", [1, 10])
@pytest.mark.parametrize(
    ("bound", "is_upper"), [(0.0, False), (-1.0, False), (-2.5, False), (0.5, True), (4.0, True)]
)
def test_smallest_damage_that_paired_answers_show_sets_the_alarm_off_four_times_in_five(
    bound: float, is_upper: bool, family: int
) -> None:
    # The standard error is 1; the alarm goes off where damage is beyond z and beyond the bound.
    estimate = an_estimate(-1.96, 0.0, 1.96, unit="difference", p_value=0.5)
    seen = smallest_detectable(estimate, bound, is_upper=is_upper, family=family)
    needed = max(NormalDist().inv_cdf(1 - 0.05 / family), abs(bound))
    goes_off = 1 - (1 + math.erf((needed - abs(seen)) / math.sqrt(2))) / 2
    assert goes_off == pytest.approx(0.8, abs=1e-3)
    assert (seen > bound) if is_upper else (seen < bound)


@pytest.mark.parametrize(
    ("bound", "beginning"),
    [
        (1.2, "edge.multilingual (worst of 3: hi): 1.050 [1.020, 1.090] <= 1.200 (95 % CI, "),
        (1.03, "edge.multilingual (zh): 1.060 [1.040, 1.080] > 1.030 (95 % CI, n = 4 080 tokens; "),
        (1.05, "inconclusive: edge.multilingual (hi): 1.050 [1.020, 1.090], limit 1.050 (95 % CI"),
    ],
)
def test_the_line_of_a_family_names_the_member_that_tells(bound: float, beginning: str) -> None:
    limit = a_limit("edge.multilingual", max=bound)
    member, verdict = judge_family(LANGUAGES, limit)
    line = explain(limit.check, LANGUAGES[member], limit, verdict, member=member, member_count=3)
    assert line.startswith(beginning)


def test_a_member_may_be_named_without_counting_the_others() -> None:
    limit = a_limit("edge.multilingual", max=1.1)
    line = explain(limit.check, LANGUAGES["hi"], limit, PASS, member="hi")
    assert line.startswith("edge.multilingual (hi): 1.050 [1.020, 1.090] <= 1.100 (")
