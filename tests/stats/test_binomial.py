from __future__ import annotations

import numpy as np
import pytest

from qgate.stats.binomial import order_bounds, upper_tails

scipy_stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize(
    ("n", "p"), [(1, 0.5), (6, 0.5), (459, 0.99), (5_000, 0.02), (100_000, 0.999), (100_000, 0.5)]
)
def test_tails_are_scipys(n: int, p: float) -> None:
    expected = scipy_stats.binom.sf(np.arange(n + 2) - 1, n, p)
    assert np.abs(upper_tails(n, p) - expected).max() < 1e-9


@pytest.mark.parametrize("n", [5, 6, 24, 459, 662])
@pytest.mark.parametrize("p", [0.05, 0.5, 0.99])
@pytest.mark.parametrize("level", [0.8, 0.95, 0.98])
def test_bounds_are_the_tightest_that_hold_the_level(n: int, p: float, level: float) -> None:
    beyond = (1 - level) / 2
    low, high = order_bounds(n, p, level)
    count = scipy_stats.binom(n, p)
    assert count.cdf(low - 1) <= beyond < count.cdf(low)
    assert count.sf(high - 1) <= beyond < count.sf(high - 2)


def test_a_tie_is_a_bound() -> None:
    assert order_bounds(5, 0.5, 1 - 2 * 0.5**5) == (1, 5)
