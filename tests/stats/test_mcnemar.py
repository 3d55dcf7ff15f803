from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from qgate.stats import mcnemar_clustered, mcnemar_exact

scipy_stats = pytest.importorskip("scipy.stats")
tables = pytest.importorskip("statsmodels.stats.contingency_tables")


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


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (0, 5), (16, 6), (450, 400)])
def test_groups_of_one_item_give_the_plain_test(lost: int, gained: int) -> None:
    differences = np.array([-1] * lost + [1] * gained + [0] * 40)
    found = mcnemar_clustered(differences, np.arange(differences.size))
    assert found == pytest.approx(mcnemar_exact(lost, gained), rel=1e-10)


@pytest.mark.parametrize(
    "sums", [(-3, -3, -3), (-3, 1, -2, 2, -1), (4, -1, -1, -1), (-2, -2, 2, 5), (0, -1, 0), (3, 2)]
)
def test_p_value_is_the_share_of_sign_flips_that_lose_as_much(sums: tuple[int, ...]) -> None:
    differences = np.repeat(np.sign(sums), np.abs(sums))
    groups = np.repeat(np.arange(len(sums)), np.abs(sums))
    flipped = [
        sum(sign * size for sign, size in zip(signs, sums, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(sums))
    ]
    expected = np.mean([total <= sum(sums) for total in flipped])
    assert mcnemar_clustered(differences, groups) == pytest.approx(expected, rel=1e-12)


def test_questions_lost_on_one_text_are_one_loss() -> None:
    differences = -np.ones(12)
    assert mcnemar_clustered(differences, np.repeat([0, 1], 6)) == 0.25
    assert mcnemar_exact(12, 0) < 0.001


def test_items_that_cancel_within_their_group_tell_nothing() -> None:
    assert mcnemar_clustered(np.array([-1, 1, -1, 1]), np.array([0, 0, 1, 1])) == 1.0


def test_many_groups_give_obuchowskis_test() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        groups = np.repeat(np.arange(400), 5)
        tendency = rng.normal(-0.05, 0.3, 400)[groups]
        differences = np.sign(tendency) * (rng.random(2_000) < np.abs(tendency))
        sums = np.bincount(groups, weights=differences)
        # half a step of the total, as in every continuity correction
        z = (sums.sum() - 0.5) / math.sqrt(np.sum(sums**2))
        found = mcnemar_clustered(differences, groups)
        assert found == pytest.approx(scipy_stats.norm.cdf(z), abs=0.015)
