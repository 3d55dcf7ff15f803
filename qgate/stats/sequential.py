"""Stop asking once the verdict is certain: a few looks at paired items, planned before the first.

Judging after every batch and stopping at the first PASS would certify artifacts at their limit far
more often than stated. Here each look has an interval of its own, wide at first, so that all of
them together hold with at least `level`: repeated confidence intervals (Jennison & Turnbull 1989,
J. R. Stat. Soc. B 51:305). Whatever the truth table says of an interval at whichever look, stopping
there or not, it passes an artifact that loses exactly the margin with a chance of at most
(1 - level) / 2, and likewise fails it.

How much of that chance is spent by the time a share t of the items is answered follows Lan & DeMets
(1983, Biometrika 70:659) in the form of O'Brien & Fleming,

    spent(t) = 2 * P(Z > z(1 - alpha / 2) / sqrt(t)),      alpha = (1 - level) / 2

which leaves the last look nearly the whole: z = 2.014 for 1.960 with 4 looks at 0.95. The bounds
follow by recursive integration (Armitage, McPherson & Rowe 1969, J. R. Stat. Soc. A 132:235). The
bound of one side does not count on stopping at the other. Agrees with R's `gsDesign(sfu = sfLDOF)`.

Summed over every path of counts (1,500 items, 4 looks, level 0.95, 6 % flips, margin 2 points):

    truly lost       PASS             FAIL             items asked
    nothing          0.867 (0.873)    0.000            1,196
    2 points         0.024 (0.024)    0.025 (0.025)    1,492
    4 points         0.000            0.698 (0.706)    1,297

in brackets what a single look at all 1,500 gives.

The items must be asked in random order, and are draws from all that could be asked, as in
`paired_difference`: the verdict is of those, not of the one list. Against the list alone (sampling
without replacement, Waudby-Smith & Ramdas 2020, arXiv:2006.04347) the intervals are too wide, never
too narrow.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.proportions import count_flips, score_ends
from qgate.stats.student import normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qgate.stats.binomial import Floats

LOOKS = 4
"""3 to 5 save most of what can be saved."""
_NODES = 96
_FARTHEST = 8.5
"""In standard deviations: where the integration begins, and no bound is needed beyond."""
_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to look, and how far the score statistic must be from the limit to stop there."""

    looks: tuple[int, ...]
    """Items answered at each look; the last are all there are."""
    z: tuple[float, ...]
    """The bound of the score statistic at each look, on either side."""
    level: float
    """At which the intervals of all looks hold together."""


def plan_looks(n: int, level: float, looks: int = LOOKS) -> Plan:
    """Plan equally spaced looks at n items.

    Args:
        n: items there are to ask, at least one a look.
        level: of all looks together, e.g. 0.95.
        looks: from 1.
    """
    if not (1 <= looks <= n and 0.0 < level < 1.0):
        raise ValueError(
            f"looks: got {looks} at n = {n} items, level {level}; expected 1 to n looks and "
            f"0 < level < 1"
        )
    items = tuple(round(n * number / looks) for number in range(1, looks + 1))
    alpha = (1.0 - level) / 2.0
    spent = [0.0, *(_spent(count / n, alpha) for count in items)]
    steps = [later - earlier for earlier, later in itertools.pairwise(spent)]
    return Plan(looks=items, z=tuple(_bounds(items, steps)), level=level)


def interval_at_look(
    artifact: NDArray[Any], reference: NDArray[Any], plan: Plan, look: int
) -> Estimate:
    """Estimate share(artifact) - share(reference) at a look: Tango's interval at that look's z.

    There is no `p_value`: that of the McNemar test counts one look only.

    Args:
        artifact: 0/1 or bool, right or wrong per item, in the order asked: all up to this look.
        reference: of the same items.
        plan: made before the first look.
        look: from 1.

    Raises:
        MeasurementError: answers that `paired_difference` refuses, or as many as are not planned.
    """
    if not 1 <= look <= len(plan.looks):
        raise ValueError(f"look: got {look}; expected 1 to {len(plan.looks)}")
    flips = count_flips(artifact, reference)
    if flips.n != plan.looks[look - 1]:
        raise MeasurementError(
            f"look {look} of {len(plan.looks)}: got {flips.n} answers; expected "
            f"{plan.looks[look - 1]}, as planned."
        )
    low, high = score_ends(flips.gained, flips.lost, flips.n, plan.z[look - 1])
    return Estimate(
        value=(flips.gained - flips.lost) / flips.n,
        low=low,
        high=high,
        level=plan.level,
        n=flips.n,
        unit="difference",
        method=f"Tango score, paired, look {look} of {len(plan.looks)}",
    )


def level_at_end(n: int, level: float, looks: int = LOOKS) -> float:
    """The level of a plain interval that is as wide as the one of the last look.

    What passes it passes the plan, at an earlier look if not at the last, but for the few that fail
    one before: a chance reckoned with it is hardly too high.
    """
    return math.erf(plan_looks(n, level, looks).z[-1] / math.sqrt(2.0))


def crossing_chances(items: Sequence[int], z: Sequence[float]) -> list[float]:
    """The chance to pass each look's upper bound, and none before, with nothing to find.

    The statistic at k items is the mean of k independent steps, standardised. Known constants:
    2.361 at each of 4 equal looks sum to 0.025 (Pocock 1977), so do 2.024 * sqrt(4 / k) (O'Brien &
    Fleming 1979).
    """
    chances, reached = [], _Reached.at_start()
    for count, bound in zip(items, z, strict=True):
        chances.append(reached.beyond(count, bound))
        reached = reached.on(count, bound)
    return chances


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reached:
    """Where the sum of `items` independent standard steps lies if it passed no bound so far."""

    items: int
    sums: Floats
    """Nodes of the integration, shape (nodes,)."""
    masses: Floats
    """The chance at each node, shape (nodes,)."""

    @classmethod
    def at_start(cls) -> _Reached:
        return cls(items=0, sums=np.zeros(1), masses=np.ones(1))

    def beyond(self, items: int, z: float) -> float:
        """The chance that the sum of so many items is beyond z standard deviations."""
        step = math.sqrt(items - self.items)
        apart = (z * math.sqrt(items) - self.sums) / step / math.sqrt(2.0)
        tails = [math.erfc(distance) / 2.0 for distance in apart.tolist()]
        return float(self.masses @ np.array(tails))

    def on(self, items: int, z: float) -> _Reached:
        """Integrate up to z standard deviations of so many items (Gauss-Legendre)."""
        nodes, weights = np.polynomial.legendre.leggauss(_NODES)
        scale, variance = math.sqrt(items), items - self.items
        half = (min(z, _FARTHEST) + _FARTHEST) / 2.0 * scale
        sums = (nodes + 1.0) * half - _FARTHEST * scale
        steps = sums[:, None] - self.sums
        density = np.exp(-(steps**2) / (2.0 * variance)) / math.sqrt(2.0 * math.pi * variance)
        return _Reached(items=items, sums=sums, masses=weights * half * (density @ self.masses))


def _bounds(items: Sequence[int], chances: Sequence[float]) -> list[float]:
    """The z of each look that is passed there first with the given chance."""
    bounds, reached = [], _Reached.at_start()
    for count, chance in zip(items, chances, strict=True):
        passed, held = -_FARTHEST, _FARTHEST
        for _ in range(_HALVINGS):
            middle = (passed + held) / 2.0
            if reached.beyond(count, middle) > chance:
                passed = middle
            else:
                held = middle
        bounds.append(held)
        reached = reached.on(count, held)
    return bounds


def _spent(share: float, alpha: float) -> float:
    return math.erfc(normal_quantile(1.0 - alpha / 2.0) / math.sqrt(2.0 * share))
