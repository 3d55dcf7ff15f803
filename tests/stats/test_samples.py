"""What a team makes of its own samples: `Estimate.share` and `Estimate.paired`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import Estimate
from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Callable

scipy_stats = pytest.importorskip("scipy.stats")
proportion = pytest.importorskip("statsmodels.stats.proportion")


def test_many_answers_have_wilsons_interval() -> None:
    found = Estimate.share(18_200, 20_000)
    wilson = proportion.proportion_confint(18_200, 20_000, method="wilson")
    assert (found.low, found.high) == pytest.approx(wilson, abs=1e-4)
    assert (found.value, found.n, found.unit) == (0.91, 20_000, "fraction")


@pytest.mark.parametrize("n", [10, 20, 50, 100, 400])
def test_a_share_is_covered_and_hardly_certified_at_its_limit(n: int) -> None:
    """Every outcome with its binomial chance: no simulation, whose error would be added."""
    every = [Estimate.share(passed, n) for passed in range(n + 1)]
    low, high = (np.array([getattr(one, end) for one in every]) for end in ("low", "high"))
    for share in (0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.99):
        chances = scipy_stats.binom.pmf(np.arange(n + 1), n, share)
        assert chances[(low <= share) & (share <= high)].sum() >= 0.948
        assert chances[low >= share].sum() <= 0.027


def test_answers_without_a_failure_leave_a_doubt() -> None:
    assert Estimate.share(100, 100).low == pytest.approx(0.962, abs=1e-3)
    assert Estimate.share(0, 100, level=0.9).high == pytest.approx(0.027, abs=1e-3)


def lengths(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(20_261_129)
    reference = rng.normal(40, 10, n)
    return reference + rng.normal(0.5, 3, n), reference


def test_values_of_any_unit_have_the_paired_t_interval() -> None:
    artifact, reference = lengths(2_000)
    found = Estimate.paired(list(artifact), list(reference), unit="words")
    ends = scipy_stats.ttest_rel(artifact, reference).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), abs=0.003)
    assert (found.unit, found.p_value) == ("words", None)
    same = Estimate.paired([42] * 6, [40] * 6, unit="words")
    assert (same.low, same.value, same.high) == (2.0, 2.0, 2.0)


@pytest.mark.parametrize("lost", [0, 3, 9])
@pytest.mark.parametrize("more_is_worse", [False, True])
def test_the_p_value_is_that_of_damage(lost: int, *, more_is_worse: bool) -> None:
    """Of 60 answers, right on one side or loops on the other."""
    good = np.ones(60)
    artifact = good.copy()
    artifact[:lost] = 0
    sides = (1 - artifact, 1 - good) if more_is_worse else (artifact, good)
    found = Estimate.paired(*sides, more_is_worse=more_is_worse)
    oracle = scipy_stats.binomtest(lost, lost, 0.5, "greater").pvalue if lost else 1.0
    assert found.value == pytest.approx((1 if more_is_worse else -1) * lost / 60)
    assert found.p_value == pytest.approx(oracle)
    assert found.low <= found.value <= found.high


def test_scores_are_those_of_a_task() -> None:
    rng = np.random.default_rng(1)
    reference = rng.uniform(0.3, 0.7, 3_000)
    artifact = reference + rng.normal(-0.01, 0.05, 3_000)
    oracle = scipy_stats.ttest_rel(artifact, reference, alternative="less")
    found = Estimate.paired(list(artifact), list(reference))
    worse = Estimate.paired(list(reference), list(artifact), more_is_worse=True)
    assert found.p_value == pytest.approx(oracle.pvalue, rel=0.02)
    assert (worse.value, worse.p_value) == (-found.value, found.p_value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Estimate.share(1, 1), "got 1 of 1; expected at least 2 answers"),
        (lambda: Estimate.share(7, 6), "got 7 of 6; expected"),
        (lambda: Estimate.paired([1, 0], [1]), "got 2 and 1 values; expected one for each item"),
        (lambda: Estimate.paired([2, 0], [1, 0]), "expected numbers from 0 to 1"),
        (lambda: Estimate.paired([float("nan"), 0], [1, 0], unit="words"), "expected finite"),
        (
            lambda: Estimate.paired([42] * 5, [40] * 5, unit="words"),
            "got 5 differences that are all 2; expected at least 6 items, or values that vary",
        ),
        (
            lambda: Estimate.paired([0.3, 1.3, 2.3], [0.1, 1.1, 2.1], unit="MB"),
            "got 3 differences that are all 0.2; expected at least 6 items",
        ),
    ],
)
def test_what_is_no_sample_is_refused(make: Callable[[], Estimate], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        make()
