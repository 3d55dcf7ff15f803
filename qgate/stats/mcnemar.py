"""The test of damage by flips alone: is more lost than gained?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mcnemar_exact(lost: int, gained: int) -> float:
    """The exact one-sided p-value of "no more is lost than gained": P(X >= lost).

    X is binomial (lost + gained, 1/2) (McNemar 1947, doi:10.1007/BF02295996). Summed in whole
    numbers: exact to the last digit. 1.0 with no flips. Agrees with `scipy.stats.binomtest(lost,
    lost + gained, alternative="greater")`; statsmodels' `mcnemar(exact=True)` is two-sided.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"McNemar: got {lost} lost and {gained} gained; expected counts")
    flips = lost + gained
    ways, at_least = math.comb(flips, lost), 0
    for count in range(lost, flips + 1):
        at_least += ways
        ways = ways * (flips - count) // (count + 1)
    return at_least / (1 << flips)


def mcnemar_clustered(differences: NDArray[Any], groups: NDArray[np.intp]) -> float:
    """The exact one-sided p-value of "no more is lost than gained" where items come in groups.

    Without damage each group's sum of differences is as likely to have the other sign, whatever the
    items of a group have to do with each other: the p-value is the share of all sign flips of the
    sums whose total is no larger than the one seen. It is `mcnemar_exact` for groups of one item;
    with many groups it nears the test of Obuchowski (1998, Stat. Med. 17:1495), whose statistic
    sum(D_g) / sqrt(sum(D_g^2)) is the same sum over its standard deviation under those flips.

    Args:
        differences: artifact - reference: -1, 0 or 1 an item, shape (n,).
        groups: numbered from 0, shape (n,).
    """
    sums = np.rint(np.bincount(groups, weights=differences)).astype(np.intp)
    sizes, counts = np.unique(np.abs(sums[sums != 0]), return_counts=True)
    masses = np.ones(1)  # of the totals that are lost: 0 to what all groups together can lose
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        ways = np.array([math.comb(count, k) / (1 << count) for k in range(count + 1)])
        spread = np.zeros(count * size + 1)
        spread[::size] = ways
        masses = np.convolve(masses, spread)
    seen = int(-sums[sums < 0].sum())
    return min(1.0, float(masses[seen:].sum()))
