from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import paired_difference, paired_scores
from qgate.stats.student_t import t_tail

scipy_stats = pytest.importorskip("scipy.stats")
statsmodels = pytest.importorskip("statsmodels.api")

LEVEL = 0.95
SEED = 20_261_125


def scores(n: int, shift: float = 0.0, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    reference = rng.beta(4, 6, n)
    artifact = np.clip(reference + rng.normal(shift, 0.05, n), 0.0, 1.0)
    return artifact, reference


@pytest.mark.parametrize("df", [1, 2.7, 30, 1e4])
@pytest.mark.parametrize("t", [-40.0, -1.3, -1e-9, 0.0, 1e-9, 0.4, 2.0, 9.0])
def test_t_tail_is_scipys(t: float, df: float) -> None:
    assert t_tail(t, df) == pytest.approx(scipy_stats.t.sf(t, df), rel=1e-8, abs=1e-13)


@pytest.mark.parametrize("shift", [-0.02, 0.0, 0.01])
def test_many_changed_scores_give_the_paired_t_test(shift: float) -> None:
    artifact, reference = scores(3_000, shift)
    found = paired_scores(artifact, reference, level=LEVEL)
    oracle = scipy_stats.ttest_rel(artifact, reference, alternative="less")
    ends = scipy_stats.ttest_rel(artifact, reference).confidence_interval(LEVEL)
    assert found.value == pytest.approx(np.mean(artifact - reference))
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=2e-5)
    assert found.low <= ends.low <= ends.high <= found.high
    assert found.p_value == pytest.approx(oracle.pvalue, rel=0.02, abs=1e-9)
    assert (found.n, found.unit, found.level) == (3_000, "difference", LEVEL)
    assert found.method == "paired t, skewness-corrected (2999 df)"


def test_grouped_scores_have_the_cluster_robust_error() -> None:
    rng = np.random.default_rng(SEED)
    groups = np.repeat(np.arange(150), 8)
    reference = rng.uniform(0.3, 0.7, 1_200)
    artifact = reference + rng.normal(-0.01, 0.05, 150)[groups] + rng.normal(0, 0.05, 1_200)
    found = paired_scores(artifact, reference, groups, level=LEVEL)
    fit = statsmodels.OLS(artifact - reference, np.ones(1_200)).fit(
        cov_type="cluster", cov_kwds={"groups": groups}, use_t=True
    )
    doubt = scipy_stats.norm.ppf(0.975) * math.sqrt(4 / (4 + 150)) / 150  # as the module says
    error = math.hypot(fit.bse[0], doubt)
    half = scipy_stats.t.ppf(0.975, 149) * error
    mean = fit.params[0]
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-4)
    assert found.p_value == pytest.approx(scipy_stats.t.cdf(mean / error, 149), rel=0.02)
    assert found.method == "paired t, cluster-robust, skewness-corrected (149 df)"
    plain = paired_scores(artifact, reference, level=LEVEL)
    assert found.high - found.low > 1.8 * (plain.high - plain.low)


@pytest.mark.parametrize("n", [10, 200, 1_319])
def test_scores_without_a_change_leave_the_doubt_of_answers_without_a_flip(n: int) -> None:
    same = np.linspace(0, 1, n)
    found = paired_scores(same, same, level=LEVEL)
    answers = paired_difference(same > 0.5, same > 0.5, level=LEVEL)
    assert found.value == 0.0
    assert found.p_value == 0.5
    assert -1.7 * answers.high < found.low <= answers.low < 0 < answers.high <= found.high


def test_the_doubt_fades_with_the_scores_that_change() -> None:
    widths = []
    for changed in (0, 4, 40, 400):
        difference = np.zeros(400)
        difference[:changed] = 1e-6 * np.sign(np.arange(changed) - changed / 2 + 0.5)
        found = paired_scores(0.5 + difference, np.full(400, 0.5), level=LEVEL)
        widths.append(found.high - found.low)
    ratio = np.array(widths[1:]) / widths[0]
    assert ratio == pytest.approx(
        [math.sqrt(4 / 8), math.sqrt(4 / 44), math.sqrt(4 / 404)], rel=1e-2
    )


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_the_test_of_damage_is_the_intervals_own(level: float) -> None:
    rng, half = np.random.default_rng(SEED), np.full(40, 0.5)
    shown = []
    for _ in range(300):
        differences = np.clip(rng.exponential(0.1, 40) - rng.uniform(0.1, 0.2), -0.5, 0.5)
        found = paired_scores(half + rng.choice([-1, 1]) * differences, half, level=level)
        assert found.p_value is not None
        assert (found.high < 0) == (found.p_value < (1 - level) / 2)
        shown.append(found.high < 0)
    assert 10 < sum(shown) < 290


def test_rare_gains_among_small_losses_set_off_no_more_alarms_than_stated() -> None:
    rng, half, repetitions = np.random.default_rng(SEED), np.full(50, 0.5), 4_000
    t, ours, students = scipy_stats.t.ppf(0.95, 49), 0, 0
    for _ in range(repetitions):
        differences = np.where(rng.random(50) < 0.1, 0.45, -0.05)
        found = paired_scores(half + differences, half, level=LEVEL)
        assert found.p_value is not None
        ours += found.p_value <= 0.05
        students += differences.mean() < -t * differences.std(ddof=1) / math.sqrt(50)
    assert students / repetitions > 0.09
    assert ours / repetitions <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / repetitions)


def test_an_interval_ends_where_scores_end() -> None:
    found = paired_scores(np.array([0.0, 1.0]), np.array([1.0, 1.0]), level=LEVEL)
    assert (found.low, found.value, found.high) == (-1.0, -0.5, 1.0)


Draw = Callable[[np.random.Generator, int], np.ndarray]
KINDS: dict[str, tuple[float, Draw]] = {
    "all change": (0.0, lambda rng, n: rng.uniform(-0.4, 0.4, n)),
    "half change": (0.0, lambda rng, n: rng.uniform(-0.4, 0.4, n) * (rng.random(n) < 0.5)),
    "heavy tails": (0.0, lambda rng, n: np.clip(0.05 * rng.standard_t(3, n), -0.5, 0.5)),
    "skewed losses": (
        -0.05 * (1 - math.exp(-10)),
        lambda rng, n: -np.minimum(rng.exponential(0.05, n), 0.5),
    ),
    "3 % collapse, the rest unchanged": (-0.015, lambda rng, n: -0.5 * (rng.random(n) < 0.03)),
    "3 % collapse, the rest in noise": (
        -0.015,
        lambda rng, n: np.where(rng.random(n) < 0.03, -0.5, rng.uniform(-0.1, 0.1, n)),
    ),
    "1 % collapse, the rest in noise": (
        -0.005,
        lambda rng, n: np.where(rng.random(n) < 0.01, -0.5, rng.uniform(-0.1, 0.1, n)),
    ),
}
"""The true mean difference, and how differences are drawn."""
LONG = (50, 200, 1_319)


def slips(kind: str, n: int, repetitions: int) -> tuple[float, float, float]:
    """How often the interval covers, lets an artifact at its limit pass, and Student's does."""
    truth, draw = KINDS[kind]
    rng, half = np.random.default_rng(SEED), np.full(n, 0.5)
    t = scipy_stats.t.ppf(0.975, n - 1)
    covered = slipped = by_students = 0
    for _ in range(repetitions):
        differences = draw(rng, n)
        found = paired_scores(half + differences, half, level=LEVEL)
        covered += found.low <= truth <= found.high
        slipped += found.low > truth
        error = differences.std(ddof=1) / math.sqrt(n)
        by_students += differences.mean() - t * error > truth
    return covered / repetitions, slipped / repetitions, by_students / repetitions


@pytest.mark.parametrize(
    ("n", "repetitions"),
    [(50, 500), (200, 500), *(pytest.param(n, 8_000, marks=pytest.mark.slow) for n in LONG)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_interval_holds_as_stated(kind: str, n: int, repetitions: int) -> None:
    """500 samples: three standard errors are 0.03 and 0.025; 8,000 samples: 0.008 and 0.006."""
    covered, slipped, _ = slips(kind, n, repetitions)
    assert covered >= 0.945 - 3 * math.sqrt(0.945 * 0.055 / repetitions)
    assert slipped <= 0.035 + 3 * math.sqrt(0.035 * 0.965 / repetitions)


def test_students_t_would_certify_rare_collapses_far_more_often() -> None:
    _, slipped, by_students = slips("3 % collapse, the rest unchanged", 50, 1_000)
    assert by_students > 0.15
    assert slipped < 0.01


def test_groups_that_move_together_are_covered() -> None:
    """1,000 samples of 60 groups of 1 to 9 items: three standard errors are 0.02."""
    rng, covered, slipped = np.random.default_rng(SEED), 0, 0
    for _ in range(1_000):
        groups = np.repeat(np.arange(60), rng.integers(1, 10, 60))
        moved = rng.uniform(-0.1, 0.1, 60)[groups] + rng.uniform(-0.2, 0.2, groups.size)
        found = paired_scores(0.5 + moved, np.full(groups.size, 0.5), groups, level=LEVEL)
        covered += found.low <= 0.0 <= found.high
        slipped += found.low > 0.0
    assert covered >= 0.93 * 1_000
    assert slipped <= 0.045 * 1_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("groups", "size", "margin", "hit", "most"),
    [
        (20, 50, 0.02, 0.4, 0.025),
        (50, 20, 0.01, 0.4, 0.025),
        (10, 100, 0.02, 0.4, 0.025),
        (60, 10, 0.02, 0.2, 0.025),
        (100, 10, 0.01, 0.4, 0.1),  # more than it should be: see the module
    ],
)
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_groups_that_are_hit_whole_are_seldom_certified_at_their_limit(
    groups: int, size: int, margin: float, hit: float, most: float, noise: float
) -> None:
    """400 artifacts; with the items' own doubt, not the groups', 12 to 62 % were."""
    rng, labels = np.random.default_rng(SEED), np.repeat(np.arange(groups), size)
    certified = 0
    for _ in range(400):
        reference = rng.uniform(0.45, 0.55, labels.size)
        lost = hit * (rng.random(groups) < margin / hit)[labels]
        artifact = np.clip(reference - lost + rng.uniform(-noise, noise, labels.size), 0, 1)
        certified += paired_scores(artifact, reference, labels, level=LEVEL).low >= -margin
    assert certified / 400 <= most + 3 * math.sqrt(most * (1 - most) / 400)


BAD = {
    "unpaired": (
        [0.1, 0.2],
        [0.1],
        ": the two sides did not answer the same items: got 2 and 1 scores; expected pairs.",
    ),
    "one item": (
        [0.1],
        [0.1],
        ": too few to tell how they differ: got 1 item; expected at least 2 items. Add items.",
    ),
    "percent": (
        [0.1, 0.2],
        [31.0, 0.2],
        ", reference: 1 of 2 are no scores: got 31.0 at index 0; expected numbers from 0 to 1.",
    ),
    "lost": (
        [0.1, math.nan],
        [0.1, 0.2],
        ", artifact: 1 of 2 values are not finite: got nan at index 1; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
    "a table": (
        [[0.1, 0.2]],
        [0.1, 0.2],
        ", artifact: got shape (1, 2); expected one score per item.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_scores_are_refused_in_one_line(bad: str) -> None:
    artifact, reference, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        paired_scores(np.array(artifact), np.array(reference), level=LEVEL)
    assert str(caught.value) == f"paired scores{message}"
