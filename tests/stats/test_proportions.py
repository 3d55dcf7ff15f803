from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import mcnemar_exact, normal_quantile, paired_difference

if TYPE_CHECKING:
    from collections.abc import Iterator

optimize = pytest.importorskip("scipy.optimize")

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
