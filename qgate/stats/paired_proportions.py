"""Items answered right by an artifact and its reference: the difference and its interval.

Both sides answer the same items, so that only flips count: items `gained` (right by the artifact
alone) and `lost` (right by the reference alone). Of n items

    share(artifact) - share(reference) = (gained - lost) / n

Most harnesses compare the two shares as if each side had answered items of its own; with 3 to 10 %
flips that takes an interval 2 to 4 times as wide (see Miller 2024, arXiv:2411.00640, on pairing).
Nominal 95 % covered in 0.94 to 0.97 of 20,000 simulated artifacts wherever 4 or more flips are to
be expected (50 to 5,000 items, 1 to 30 % flips, drops of 0 to 5 points), and 1 to 3 % of those
exactly at their limit were certified; with fewer flips the coverage rises towards 1.

Items are taken as independent draws. Where they come in groups, e.g. questions on one text, all
counts are divided by the design effect of the difference, never below 1, and by (t / z)^2 for its
few degrees of freedom, as in `proportion_interval` (Rao & Scott 1992, Biometrics 48:577, on such
counts; Yang, Sun & Hardin 2010, doi:10.1002/bimj.201000035, on clustered pairs). The fewer groups
have a flip, the more their items are taken to flip as one. Nominal 95 % covered in 0.95 to 1.00 of
2,000 to 3,000 simulated artifacts (6 to 260 groups of 2 to 50 items, intraclass correlation 0 to
0.5) where the plain interval had 0.33 to 0.95, and 0 to 3 % of those exactly at their limit were
certified, for 2 to 36 %. No interval sees what it did not draw: where one or two groups in a
hundred are lost whole among flips of other kinds, 5 to 10 % were.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.clusters import Prior, clustered_mean, design_effect, group_items
from qgate.stats.mcnemar import mcnemar_clustered, mcnemar_exact
from qgate.stats.student_t import normal_quantile, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qgate.stats.clusters import Clustered

FEWEST_FLIPPED_GROUPS = 12
"""A test by flipped signs of so many groups can reach 2^-12, an alarm's error among 200 of them."""
_METHOD = "Tango score, paired"
_BISECTION_WIDTH = 1e-12
# where no group has a flip, each may have lost as one: the groups are all that was drawn
_PRIOR = Prior(icc=1.0, weight=1.0)


def paired_difference(
    artifact: NDArray[Any],
    reference: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    level: float,
) -> Estimate:
    """Estimate share(artifact) - share(reference) by Tango's score interval for pairs.

    The interval holds the differences d that a score test does not reject, with the share of lost
    items at its maximum likelihood given d, in closed form (Tango 1998, Stat. Med. 17:891). Unlike
    Wald's it has a width where nothing flipped: z^2 / (n + z^2) to both sides. Agrees with R's
    `contingencytables::Tango_asymptotic_score_CI_paired_2x2`.

    `p_value` is that of `mcnemar_exact`, with groups of `mcnemar_clustered`; None with fewer than
    `FEWEST_FLIPPED_GROUPS`, of which the interval decides.

    Args:
        artifact: 0/1 or bool, right or wrong per item, shape (n,).
        reference: of the same items in the same order.
        groups: which items belong together, a label each, shape (n,); see above.
        level: e.g. 0.95.

    Raises:
        MeasurementError: unpaired items, none, one group only, or one neither right nor wrong.
    """
    (gained, lost, n), z = _count_flips(artifact, reference), normal_quantile(0.5 + level / 2.0)
    worth, method = 1.0, _METHOD
    p_value: float | None = mcnemar_exact(lost, gained)
    if is_grouped := groups is not None and len(np.unique(groups)) < n:
        differences = np.asarray(artifact, np.float64) - np.asarray(reference, np.float64)
        sample = group_items("paired difference", differences, groups)
        (worth, method), p_value = _worth(sample, level), _flipped(sample)
    low, high = score_ends(gained * worth, lost * worth, n * worth, z)
    return Estimate(
        value=(gained - lost) / n,
        low=low,
        high=high,
        level=level,
        n=n,
        unit="difference",
        method=method,
        p_value=p_value,
        test="sign-flip" if is_grouped else "exact McNemar",
    )


def _count_flips(artifact: NDArray[Any], reference: NDArray[Any]) -> tuple[int, int, int]:
    """How many items only the artifact has right, how many only the reference, and of how many."""
    artifact, reference = _answers("artifact", artifact), _answers("reference", reference)
    if artifact.shape != reference.shape:
        raise MeasurementError(
            f"paired difference: the two sides did not answer the same items: got "
            f"{artifact.size} and {reference.size} answers; expected pairs."
        )
    if artifact.size == 0:
        raise MeasurementError("paired difference: no items: got n = 0; expected at least 1.")
    gained, lost = np.count_nonzero(artifact & ~reference), np.count_nonzero(reference & ~artifact)
    return int(gained), int(lost), int(artifact.size)


def score_ends(gained: float, lost: float, n: float, z: float) -> tuple[float, float]:
    """Tango's interval of the difference at z; counts need not be whole."""
    return -_upper_end(lost, gained, n, z), _upper_end(gained, lost, n, z)


def score_allows(gained: float, lost: float, n: float, difference: float, z: float) -> bool:
    """Whether Tango's score test at z does not reject this difference, at least gained - lost."""
    apart = gained - lost - n * difference
    return apart**2 <= z**2 * _variance(gained, lost, n, difference)


def _answers(side: str, flags: NDArray[Any]) -> NDArray[np.bool_]:
    flags = np.asarray(flags)
    if flags.ndim != 1:
        raise MeasurementError(
            f"paired difference, {side}: got shape {flags.shape}; expected one answer per item."
        )
    right: NDArray[np.bool_] = np.equal(flags, 1)
    wrong = np.flatnonzero(~right & np.not_equal(flags, 0))
    if wrong.size:
        raise MeasurementError(
            f"paired difference, {side}: {wrong.size} of {flags.size} answers are neither right "
            f"nor wrong: got {flags[wrong[0]]} at index {wrong[0]}; expected 0 or 1."
        )
    return right


def _flipped(sample: Clustered) -> float | None:
    """Of the test that flips the signs of whole groups; None with so few that it shows nothing."""
    if sample.sizes.size < FEWEST_FLIPPED_GROUPS:
        return None
    return mcnemar_clustered(sample.values, sample.index)


def _worth(sample: Clustered, level: float) -> tuple[float, str]:
    """How many independent items one of these is worth, and the interval's name."""
    found = clustered_mean(sample)
    is_flip = sample.values != 0.0
    variance = float(is_flip.mean()) - found.mean**2
    effect = design_effect(sample, found, variance=variance, is_rare=is_flip, prior=_PRIOR)
    z, t = normal_quantile(0.5 + level / 2.0), t_quantile(0.5 + level / 2.0, found.df)
    method = f"{_METHOD}, clustered, design effect {effect:.2f} ({round(found.df, 1):g} df)"
    return (z / t) ** 2 / effect, method


def _upper_end(gained: float, lost: float, n: float, z: float) -> float:
    """The largest difference that the score test at z does not reject, from its outer side."""
    inside, outside = (gained - lost) / n, 1.0
    while outside - inside > _BISECTION_WIDTH:
        middle = (inside + outside) / 2.0
        if score_allows(gained, lost, n, middle, z):
            inside = middle
        else:
            outside = middle
    return outside


def _variance(gained: float, lost: float, n: float, difference: float) -> float:
    """Of gained - lost, given the difference: n * (2 * share lost + d * (1 - d)).

    The share lost is the larger root of 2n q^2 + b q + c = 0, its maximum likelihood given d.
    """
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, b * b - 8.0 * n * c))
    # the form whose terms do not cancel
    share_lost = (root - b) / (4.0 * n) if b <= 0.0 else -2.0 * c / (root + b)
    return n * (2.0 * share_lost + difference * (1.0 - difference))
