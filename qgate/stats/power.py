"""What n paired items can decide, before anything is measured: exact sums, no approximation.

Without damage a share `flip_rate` of the items flips, as often to the better as to the worse; a
true `drop` comes on top of it:

    P(gained) = flip_rate / 2        P(lost) = flip_rate / 2 + drop

Counts are trinomial, and a decision's chance is the sum over the counts that lead to it: whatever
`paired_difference` and `mcnemar_exact` would say of them. The textbook's n = (z + z)^2 * flip_rate
/ margin^2 asks for fewer, as it takes the variance without damage where the score test takes that
at the margin: at 80 % power, 6 % flips and a margin of 2 points 928 for 965 one-sided at 5 % (level
0.9), 1178 for 1226 at level 0.95.
"""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.stats.paired_proportions import score_allows
from qgate.stats.student_t import normal_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qgate.stats.binomial import Floats

_FEWEST_FLIPS = 3
"""Assumed where fewer are expected: none among n leave a share of 3/n likely (rule of three)."""
_DROP_HALVINGS = 24
_WINDOW_DEVIATIONS = 7.0
_MOST_ITEMS = 1_000_000


def chance_to_certify(
    n: int, margin: float, flip_rate: float, level: float, *, drop: float = 0.0
) -> float:
    """The chance that the low end of `paired_difference` at `level` is at least -margin.

    Args:
        n: items, at least 1.
        margin: the drop that is still good, as a share above 0.
        flip_rate: share of items that flip without damage; fewer than 3 items count as 3.
        level: of the two-sided interval, e.g. 0.95.
        drop: what the artifact truly loses, as a share. At `margin` the result is the chance to
            certify it wrongly.
    """
    _require_shares("chance to certify", n=n, margin=margin, flip_rate=flip_rate, drop=drop)
    gained_share = _gained_share(n, flip_rate)
    gained, lost, masses = _trinomial(n, gained_share, gained_share + drop)
    most_lost = _most_lost(gained, n, margin, normal_quantile(0.5 + level / 2.0))
    return min(1.0, float(masses[lost <= most_lost].sum()))


def items_to_certify(margin: float, flip_rate: float, level: float, power: float = 0.8) -> int:
    """The number of undamaged items from which `chance_to_certify` reaches `power`.

    Found by bisection, as if the chance grew with every item. It does but for dips of up to two
    points where n is below 100, 0.6 points at 1,000, as flips are whole: n - 1 items fall short,
    and so may a few numbers just above n.

    Raises:
        MeasurementError: more than a million would not do.
    """
    _require_shares("items to certify", n=1, margin=margin, flip_rate=flip_rate, drop=0.0)
    if not 0.0 < power < 1.0:
        raise ValueError(f"items to certify: got power = {power}; expected 0 < power < 1")

    def is_enough(n: int) -> bool:
        return chance_to_certify(n, margin, flip_rate, level) >= power

    z = normal_quantile(0.5 + level / 2.0) + normal_quantile(power)
    enough = math.ceil(max(1.0, z**2 * flip_rate / margin**2, 1.0 / margin))
    too_few = 0
    while enough <= _MOST_ITEMS and not is_enough(enough):
        too_few, enough = enough, math.ceil(enough * 1.1) + 1
    if enough > _MOST_ITEMS:
        raise MeasurementError(
            f"items to certify: got a margin of {margin:g} at {flip_rate:g} flips; expected one "
            f"that {_MOST_ITEMS:,} items can show. Widen the margin."
        )
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if is_enough(middle):
            enough = middle
        else:
            too_few = middle
    return enough


def detectable_drop(n: int, flips: int, *, alpha: float, power: float = 0.8) -> float:
    """The smallest true drop that `mcnemar_exact` <= alpha shows with this power.

    The power grows with the drop. Fewer than 3 flips are counted as 3. For many flips it nears
    (z(1 - alpha) + z(power)) * sqrt(flips) / n from above.

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
    gained_share = _gained_share(n, flips / n)
    fewest_lost = _critical_losses(int(_window(n, gained_share)[-1]), alpha)

    def is_shown(drop: float) -> bool:
        gained, lost, masses = _trinomial(n, gained_share, gained_share + drop)
        return float(masses[lost >= fewest_lost[gained]].sum()) >= power

    unseen, seen = 0.0, 1.0 - 2.0 * gained_share
    if not is_shown(seen):
        raise MeasurementError(
            f"detectable drop: too few items to show any: got n = {n} with {flips} flips; expected "
            f"enough for a p-value of {alpha:g} with power {power:g}. Add items."
        )
    for _ in range(_DROP_HALVINGS):
        middle = (unseen + seen) / 2.0
        if is_shown(middle):
            seen = middle
        else:
            unseen = middle
    return seen


def _require_shares(what: str, *, n: int, margin: float, flip_rate: float, drop: float) -> None:
    is_right = n >= 1 and 0.0 < margin < 1.0 and flip_rate >= 0.0 and drop >= 0.0
    if not (is_right and flip_rate + drop <= 1.0):
        raise ValueError(
            f"{what}: got n = {n}, margin = {margin}, flip rate = {flip_rate}, drop = {drop}; "
            f"expected n >= 1, 0 < margin < 1 and shares of the items"
        )


def _gained_share(n: int, flip_rate: float) -> float:
    return min(max(flip_rate, _FEWEST_FLIPS / n), 1.0) / 2.0


def _window(n: int, share: float) -> NDArray[np.intp]:
    """The counts that a binomial (n, share) takes, but for a chance below 1e-9."""
    reach = _WINDOW_DEVIATIONS * (math.sqrt(n * share * (1.0 - share)) + 2.0)
    low, high = max(0, math.floor(n * share - reach)), min(n, math.ceil(n * share + reach))
    return np.arange(low, high + 1)


def _trinomial(
    n: int, gained_share: float, lost_share: float
) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Counts gained, shape (g,), counts lost, shape (l, 1), and the chances of both, shape (l, g).

    The counts leave out a chance below 1e-9.
    """
    gained, lost = _window(n, gained_share), _window(n, lost_share)
    same = n - np.arange(gained[0] + lost[0], gained[-1] + lost[-1] + 1)
    same_share = max(1.0 - lost_share - gained_share, sys.float_info.min)
    factorials = np.concatenate(([0.0], np.cumsum(np.log(np.arange(1.0, n + 1.0)))))  # logarithms
    by_same = same * math.log(same_share) - factorials[np.maximum(same, 0)]
    by_same[same < 0] = -np.inf
    by_lost = factorials[n] - factorials[lost] + lost * math.log(lost_share)
    by_gained = -factorials[gained] + gained * math.log(gained_share)
    # row l, column g of this view is the entry for l + g flips
    logs = np.lib.stride_tricks.sliding_window_view(by_same, gained.size) + by_gained
    logs += by_lost[:, None]
    return gained, lost[:, None], np.exp(logs, out=logs)


def _most_lost(gained: NDArray[np.intp], n: int, margin: float, z: float) -> NDArray[np.intp]:
    """For each count gained: the most lost whose interval still holds -margin, -1 for none.

    Walks along that border: with more gained no fewer may be lost.
    """
    most = np.empty(gained.size, dtype=np.intp)
    lost = 0  # the fewest known not to hold
    for index, count in enumerate(gained.tolist()):
        while lost <= n and _holds(count, lost, n, margin, z):
            lost += 1
        most[index] = lost - 1
    return most


def _holds(gained: int, lost: int, n: int, margin: float, z: float) -> bool:
    return lost - gained <= n * margin and not score_allows(lost, gained, n, margin, z)


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
