from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import detectable_drop, mcnemar_exact, normal_quantile, paired_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

optimize = pytest.importorskip("scipy.optimize")
scipy_stats = pytest.importorskip("scipy.stats")
tables = pytest.importorskip("statsmodels.stats.contingency_tables")

LEVEL = 0.95


def answers(gained: int, lost: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Artifact and reference; of the items that did not flip every second is right."""
    artifact = np.arange(n) % 2 == 0
    reference = artifact.copy()
    artifact[:gained], reference[:gained] = True, False
    artifact[gained : gained + lost], reference[gained : gained + lost] = False, True
    return artifact, reference


def all_flips(n: int) -> Iterator[tuple[int, int]]:
    return ((gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained))


@pytest.mark.parametrize(
    ("gained", "lost", "n", "low", "high"),
    [(1, 7, 21, -0.517, -0.026), (6, 16, 161, -0.124, -0.005)],
    ids=["Bentur 2009", "Cavo 2012"],
)
def test_interval_is_the_published_one(
    gained: int, lost: int, n: int, low: float, high: float
) -> None:
    """Fagerland, Lydersen & Laake 2014, Stat. Med. 33:2850; their R package contingencytables."""
    estimate = paired_difference(*answers(gained, lost, n), level=LEVEL)
    assert (estimate.low, estimate.high) == pytest.approx((low, high), abs=5e-4)


def score_by_maximisation(gained: int, lost: int, n: int, difference: float) -> float:
    """The score statistic, with the nuisance share found by a numerical search."""

    def loss(share_lost: float) -> float:
        share_gained = share_lost + difference
        same = 1 - share_lost - share_gained
        counts = ((gained, share_gained), (lost, share_lost), (n - gained - lost, same))
        return -sum(count * math.log(max(share, 1e-300)) for count, share in counts if count)

    bounds = (max(0.0, -difference), (1 - difference) / 2)
    found = optimize.minimize_scalar(
        loss, bounds=bounds, method="bounded", options={"xatol": 1e-13}
    )
    variance = n * (2 * found.x + difference - difference**2)
    return (gained - lost - n * difference) / math.sqrt(variance)


@pytest.mark.parametrize(
    ("gained", "lost", "n"),
    [(1, 7, 21), (6, 16, 161), (0, 3, 50), (3, 0, 50), (5, 5, 40), (9, 1, 10), (31, 47, 1319)],
)
@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_ends_are_those_of_the_score_test(gained: int, lost: int, n: int, level: float) -> None:
    z = normal_quantile(0.5 + level / 2)
    value = (gained - lost) / n

    def root(sign: float, near: float, far: float) -> float:
        return optimize.brentq(
            lambda d: score_by_maximisation(gained, lost, n, d) + sign * z, near, far, xtol=1e-9
        )

    expected = root(-1, -1 + 1e-9, value - 1e-9), root(1, value + 1e-9, 1 - 1e-9)
    estimate = paired_difference(*answers(gained, lost, n), level=level)
    assert (estimate.low, estimate.high) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("n", [1, 10, 200])
def test_no_flips_leave_a_doubt(n: int) -> None:
    estimate = paired_difference(*answers(0, 0, n), level=LEVEL)
    reach = normal_quantile(0.975) ** 2 / (n + normal_quantile(0.975) ** 2)
    assert estimate.value == 0.0
    assert (estimate.low, estimate.high) == pytest.approx((-reach, reach), abs=1e-9)
    if n == 10:
        assert reach == pytest.approx(0.28, abs=0.005)


def test_value_is_in_the_interval_whatever_flipped() -> None:
    for gained, lost in all_flips(9):
        estimate = paired_difference(*answers(gained, lost, 9), level=LEVEL)
        assert estimate.value == (gained - lost) / 9
        assert -1.0 <= estimate.low <= estimate.value <= estimate.high <= 1.0
        assert estimate.low < estimate.high


def test_no_difference_between_the_ends_is_one_that_the_test_rejects() -> None:
    for gained, lost in all_flips(6):
        inner = np.linspace((gained - lost) / 6, 1.0, 22)[1:-1] if gained < 6 else []
        scores = [score_by_maximisation(gained, lost, 6, difference) for difference in inner]
        assert all(later < earlier + 1e-6 for earlier, later in itertools.pairwise(scores))


def test_swapping_the_sides_negates_the_difference() -> None:
    artifact, reference = answers(4, 19, 300)
    there = paired_difference(artifact, reference, level=LEVEL)
    back = paired_difference(reference, artifact, level=LEVEL)
    assert (-back.high, -back.value, -back.low) == (there.low, there.value, there.high)


def test_what_both_sides_answer_alike_tells_nothing() -> None:
    artifact, reference = answers(4, 19, 300)
    hard, easy = artifact.copy(), artifact.copy()
    hard[23:], easy[23:] = False, True
    expected = paired_difference(artifact, reference, level=LEVEL)
    for other in (hard, easy):
        sides = other, np.where(artifact == reference, other, reference)
        assert paired_difference(*sides, level=LEVEL) == expected


def test_numbers_serve_as_answers_and_the_rest_is_told() -> None:
    artifact, reference = answers(4, 19, 300)
    estimate = paired_difference(artifact.astype(float), reference.astype(int), level=LEVEL)
    assert (estimate.n, estimate.unit, estimate.level) == (300, "difference", LEVEL)
    assert estimate.method == "Tango score, paired"
    assert estimate.p_value == mcnemar_exact(19, 4)


BAD = {
    "unpaired": (
        [1, 0, 1],
        [1, 0],
        ": the two sides did not answer the same items: got 3 and 2 answers; expected pairs.",
    ),
    "nothing": ([], [], ": no items: got n = 0; expected at least 1."),
    "lost in the artifact": (
        [1.0, math.nan, 0.0],
        [1, 1, 1],
        ", artifact: 1 of 3 answers are neither right nor wrong: got nan at index 1; "
        "expected 0 or 1.",
    ),
    "scores": (
        [1, 1],
        [0.25, 0.5],
        ", reference: 2 of 2 answers are neither right nor wrong: got 0.25 at index 0; "
        "expected 0 or 1.",
    ),
    "a table": (
        [[1, 0]],
        [1, 0],
        ", artifact: got shape (1, 2); expected one answer per item.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_answers_are_refused_in_one_line(bad: str) -> None:
    artifact, reference, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        paired_difference(np.array(artifact), np.array(reference), level=LEVEL)
    assert str(caught.value) == f"paired difference{message}"


@pytest.mark.parametrize(
    ("lost", "gained"),
    [(0, 1), (1, 0), (5, 0), (7, 1), (1, 7), (16, 6), (450, 400), (2_000, 1_900)],
)
def test_mcnemar_is_scipys_binomial_test_and_half_of_statsmodels(lost: int, gained: int) -> None:
    expected = scipy_stats.binomtest(lost, lost + gained, alternative="greater").pvalue
    assert mcnemar_exact(lost, gained) == pytest.approx(expected, rel=1e-11)
    two_sided = tables.mcnemar([[0, lost], [gained, 0]], exact=True).pvalue
    larger, smaller = max(lost, gained), min(lost, gained)
    assert min(1.0, 2 * mcnemar_exact(larger, smaller)) == pytest.approx(two_sided, rel=1e-9)


def test_mcnemar_without_flips_sees_nothing() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(0, 9) == 1.0


def test_mcnemar_counts_in_whole_numbers() -> None:
    assert mcnemar_exact(5, 0) == 1 / 32
    assert mcnemar_exact(1_100, 0) == 0.0
    with pytest.raises(ValueError, match="got -1 lost and 2 gained; expected counts"):
        mcnemar_exact(-1, 2)


def power_by_enumeration(n: int, flips: int, drop: float, alpha: float) -> float:
    shares = flips / n / 2, flips / n / 2 + drop
    outcomes = [
        (gained, lost, n - gained - lost)
        for gained, lost in all_flips(n)
        if mcnemar_exact(lost, gained) <= alpha
    ]
    trinomial = scipy_stats.multinomial(n, [*shares, 1 - sum(shares)])
    return float(trinomial.pmf(outcomes).sum())


@pytest.mark.parametrize(("n", "flips"), [(20, 3), (60, 6), (60, 20)])
@pytest.mark.parametrize("alpha", [0.05, 1 / 32, 0.01])
def test_drop_is_the_smallest_with_that_power(n: int, flips: int, alpha: float) -> None:
    drop = detectable_drop(n, flips, alpha=alpha)
    assert power_by_enumeration(n, flips, drop, alpha) == pytest.approx(0.8, abs=1e-5)
    assert power_by_enumeration(n, flips, 0.99 * drop, alpha) < 0.8


@pytest.mark.parametrize(("n", "flips"), [(100, 6), (1_319, 79), (14_042, 842)])
def test_an_artifact_at_that_drop_is_seen_four_times_in_five(n: int, flips: int) -> None:
    drop = detectable_drop(n, flips, alpha=0.05)
    gained_share = flips / n / 2
    shares = [gained_share, gained_share + drop, 1 - 2 * gained_share - drop]
    drawn = np.random.default_rng(11).multinomial(n, shares, 2_000)
    seen = np.mean([mcnemar_exact(int(lost), int(gained)) <= 0.05 for gained, lost, _ in drawn])
    assert seen == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 2_000))


def test_drop_nears_the_textbooks_from_above() -> None:
    drops = [detectable_drop(n, n * 6 // 100, alpha=0.05) for n in (1_000, 10_000, 100_000)]
    textbook = [2.4865 * math.sqrt(0.06 / n) for n in (1_000, 10_000, 100_000)]
    excess = [drop / plain - 1 for drop, plain in zip(drops, textbook, strict=True)]
    assert 0.25 > excess[0] > excess[1] > excess[2] > 0
    assert excess[2] < 0.03


def test_fewer_than_three_flips_count_as_three() -> None:
    drops = [detectable_drop(200, flips, alpha=0.05) for flips in range(5)]
    assert drops[0] == drops[1] == drops[2] == drops[3] < drops[4]


def test_more_power_or_less_alpha_needs_a_larger_drop() -> None:
    plain = detectable_drop(200, 12, alpha=0.05)
    assert detectable_drop(200, 12, alpha=0.05, power=0.9) > plain
    assert detectable_drop(200, 12, alpha=0.025) > plain


def test_items_that_can_show_no_drop_are_refused() -> None:
    with pytest.raises(MeasurementError) as caught:
        detectable_drop(8, 0, alpha=0.05)
    assert str(caught.value) == (
        "detectable drop: too few items to show any: got n = 8 with 0 flips; expected enough for "
        "a p-value of 0.05 with power 0.8. Add items."
    )


@pytest.mark.parametrize(
    ("n", "flips", "alpha", "power"), [(5, 6, 0.05, 0.8), (5, -1, 0.05, 0.8), (5, 1, 0.9, 0.8)]
)
def test_detectable_drop_refuses_what_is_no_count_or_share(
    n: int, flips: int, alpha: float, power: float
) -> None:
    with pytest.raises(ValueError, match=f"^detectable drop: got n = {n}, flips = {flips}, "):
        detectable_drop(n, flips, alpha=alpha, power=power)
