"""The ranks that a binomial distribution bounds, and the largest share that a count allows.

`scipy.special` only where it is asked: importing it takes as long as a small run's statistics.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def order_bounds(n: int, p: float, level: float) -> tuple[int, int]:
    """Ranks, from 1, of the sorted values that enclose the p-quantile with at least `level`.

    The low one is the largest r with P(X < r) <= (1 - level) / 2, the high one the smallest with
    P(X >= r) <= (1 - level) / 2, X binomial (n, p) (Hahn & Meeker 1991, Statistical Intervals,
    5.2). They are not held to 1 .. n: 0 and n + 1 say that n is too small for that end.

    Args:
        n: at least 1.
        p: between 0 and 1, neither end.
        level: of the interval.
    """
    from scipy.special import bdtr, bdtrc

    ranks = np.arange(n + 1)
    beyond = (1.0 - level) / 2.0 * (1.0 + 1e-9)  # a tie is a bound, whatever rounding says
    high = 1 + int(np.count_nonzero(bdtrc(ranks[:n], n, p) > beyond))
    low = int(np.count_nonzero(bdtr(ranks[:n], n, p) <= beyond))
    return low, high


def upper_share(n: int, count: int, level: float) -> float:
    """The largest share with which no more than `count` of `n` are seen with chance 1 - level.

    Exact, one-sided (Clopper & Pearson 1934). With none seen it is 1 - (1 - level)^(1/n), at 95 %
    nearly 3 / n: the rule of three.

    Args:
        n: at least 1.
        count: 0 to n.
        level: e.g. 0.95.
    """
    from scipy.special import betaincinv

    return 1.0 if count == n else float(betaincinv(count + 1, n - count, level))
