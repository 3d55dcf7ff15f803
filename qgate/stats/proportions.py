"""Items answered right by an artifact and its reference: difference, test, smallest visible drop.

Both sides answer the same items, so that only flips count: items `gained` (right by the artifact
alone) and `lost` (right by the reference alone). Of n items

    share(artifact) - share(reference) = (gained - lost) / n

Most harnesses compare the two shares as if each side had answered items of its own; with 3 to 10 %
flips that takes an interval 2 to 4 times as wide (see Miller 2024, arXiv:2411.00640, on pairing).
Items are taken as independent draws.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.student import normal_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BISECTION_WIDTH = 1e-12
_FEWEST_FLIPS = 3
"""Assumed where fewer were seen: none among n leave a share of 3/n likely (the rule of three)."""
_DROP_HALVINGS = 24
_WINDOW_DEVIATIONS = 7.0


def paired_difference(artifact: NDArray[Any], reference: NDArray[Any], *, level: float) -> Estimate:
    """Estimate share(artifact) - share(reference) by Tango's score interval for pairs.

    The interval holds the differences d that a score test does not reject, with the share of lost
    items at its maximum likelihood given d, in closed form (Tango 1998, Stat. Med. 17:891). Unlike
    Wald's it has a width where nothing flipped: z^2 / (n + z^2) to both sides. Agrees with R's
    `contingencytables::Tango_asymptotic_score_CI_paired_2x2`.

    Nominal 95 % covered in 0.94 to 0.97 of 20,000 simulated artifacts wherever 4 or more flips are
    to be expected (50 to 5,000 items, 1 to 30 % flips, drops of 0 to 5 points), and 1 to 3 % of
    those exactly at their limit were certified; with fewer flips the coverage rises towards 1.
    `p_value` is that of `mcnemar_exact`.

    Args:
        artifact: 0/1 or bool, right or wrong per item, shape (n,).
        reference: of the same items in the same order.
        level: e.g. 0.95.

    Raises:
        MeasurementError: unpaired items, none at all, or an answer that is neither right nor wrong.
    """
    artifact, reference = _answers("artifact", artifact), _answers("reference", reference)
    if artifact.shape != reference.shape:
        raise MeasurementError(
            f"paired difference: the two sides did not answer the same items: got "
            f"{artifact.size} and {reference.size} answers; expected pairs."
        )
    n = int(artifact.size)
    if n == 0:
        raise MeasurementError("paired difference: no items: got n = 0; expected at least 1.")
    gained = int(np.count_nonzero(artifact & ~reference))
    lost = int(np.count_nonzero(reference & ~artifact))
    z = normal_quantile(0.5 + level / 2.0)
    return Estimate(
        value=(gained - lost) / n,
        low=-_upper_end(lost, gained, n, z),
        high=_upper_end(gained, lost, n, z),
        level=level,
        n=n,
        unit="difference",
        method="Tango score, paired",
        p_value=mcnemar_exact(lost, gained),
    )


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


def detectable_drop(n: int, flips: int, *, alpha: float, power: float = 0.8) -> float:
    """The smallest true drop that `mcnemar_exact` <= alpha shows with this power.

    The share flips / n is taken to flip without damage, as often to the better as to the worse, and
    the drop to come on top of it: lost with probability flips / 2n + drop, gained with flips / 2n.
    The power is summed over all outcomes, no approximation; it grows with the drop. Fewer than 3
    flips are counted as 3. For many flips it nears (z(1 - alpha) + z(power)) * sqrt(flips) / n from
    above.

    Args:
        n: items, at least 1.
        flips: items that change without damage, e.g. between two runs of the reference.
        alpha: of the one-sided test.
        power: between alpha and 1.

    Returns:
        A share of the n items, above 0.

    Raises:
        MeasurementError: with so few items no drop is shown that surely, not even of all of them.
    """
    if not (0 <= flips <= n and n >= 1 and 0.0 < alpha < power < 1.0):
        raise ValueError(
            f"detectable drop: got n = {n}, flips = {flips}, alpha = {alpha}, power = {power}; "
            f"expected 0 <= flips <= n and 0 < alpha < power < 1"
        )
    gained_share = min(max(flips, _FEWEST_FLIPS), n) / n / 2.0
    fewest_lost = _critical_losses(int(_window(n, gained_share)[-1]), alpha)
    unseen, seen = 0.0, 1.0 - 2.0 * gained_share
    if _power(n, gained_share, seen, fewest_lost) < power:
        raise MeasurementError(
            f"detectable drop: too few items to show any: got n = {n} with {flips} flips; expected "
            f"enough for a p-value of {alpha:g} with power {power:g}. Add items."
        )
    for _ in range(_DROP_HALVINGS):
        middle = (unseen + seen) / 2.0
        if _power(n, gained_share, middle, fewest_lost) >= power:
            seen = middle
        else:
            unseen = middle
    return seen


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


def _upper_end(gained: int, lost: int, n: int, z: float) -> float:
    """The largest difference that the score test at z does not reject, from its outer side."""
    inside, outside = (gained - lost) / n, 1.0
    while outside - inside > _BISECTION_WIDTH:
        middle = (inside + outside) / 2.0
        if (gained - lost - n * middle) ** 2 <= z**2 * _variance(gained, lost, n, middle):
            inside = middle
        else:
            outside = middle
    return outside


def _variance(gained: int, lost: int, n: int, difference: float) -> float:
    """Of gained - lost, given the difference: n * (2 * share lost + d * (1 - d)).

    The share lost is the larger root of 2n q^2 + b q + c = 0, its maximum likelihood given d.
    """
    b = (2 * n - gained + lost) * difference - gained - lost
    c = -lost * difference * (1.0 - difference)
    root = math.sqrt(max(0.0, b * b - 8.0 * n * c))
    # the form whose terms do not cancel
    share_lost = (root - b) / (4.0 * n) if b <= 0.0 else -2.0 * c / (root + b)
    return n * (2.0 * share_lost + difference * (1.0 - difference))


def _window(n: int, share: float) -> NDArray[np.intp]:
    """The counts that a binomial (n, share) takes, but for a chance below 1e-9."""
    reach = _WINDOW_DEVIATIONS * (math.sqrt(n * share * (1.0 - share)) + 2.0)
    low, high = max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach))
    return np.arange(low, high + 1)


def _power(n: int, gained_share: float, drop: float, fewest_lost: NDArray[np.intp]) -> float:
    """The chance of at least `fewest_lost[gained]` losses, summed over the trinomial's outcomes."""
    lost_share = gained_share + drop
    gained = _window(n, gained_share)
    lost = _window(n, lost_share)[:, None]
    same = n - lost - gained
    same_share = max(1.0 - lost_share - gained_share, sys.float_info.min)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1.0, n + 1.0)))))  # logarithms
    logs = factorials[n] - factorials[lost] - factorials[gained] - factorials[np.maximum(same, 0)]
    logs += lost * math.log(lost_share) + gained * math.log(gained_share)
    logs += same * math.log(same_share)
    is_seen = (lost >= fewest_lost[gained]) & (same >= 0)
    return float(np.exp(logs[is_seen]).sum())


def _critical_losses(most_gained: int, alpha: float) -> NDArray[np.intp]:
    """For 0 to `most_gained` gained: the fewest lost with `mcnemar_exact` <= alpha.

    Walks along that border: with t the p-value and c = C(lost + gained, lost) / 2^(lost + gained),
    one more lost takes c / 2 from t, one more gained adds c * lost / (gained + 1) / 2 to it.
    """
    fewest = np.empty(most_gained + 1, dtype=np.intp)
    lost, tail, mass = 0, 1.0, 1.0
    for gained in range(most_gained + 1):
        while tail > alpha:
            tail -= mass / 2.0
            mass *= (lost + gained + 1) / (lost + 1) / 2.0
            lost += 1
        fewest[gained] = lost
        tail += mass * lost / (gained + 1) / 2.0
        mass *= (lost + gained + 1) / (gained + 1) / 2.0
    return fewest
