from __future__ import annotations

import pytest

from qgate.stats.binomial import order_bounds, upper_share

scipy_stats = pytest.importorskip("scipy.stats")


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


@pytest.mark.parametrize(("n", "count"), [(7, 0), (200, 1), (1000, 100), (1000, 999)])
def test_the_upper_share_is_the_one_that_its_count_hardly_fits(n: int, count: int) -> None:
    share = upper_share(n, count, 0.95)
    assert scipy_stats.binom.cdf(count, n, share) == pytest.approx(0.05, rel=1e-9)
    assert upper_share(n, n, 0.95) == 1.0
