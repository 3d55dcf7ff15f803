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

which leaves the last look nearly the whole: z = 2.014 for 1.960 with 4 looks at 0.95, 1.969 with 2.
To spend evenly decides earlier, but a skewed mean of few clusters errs most at a first look. The
bounds follow by recursive integration (Armitage, McPherson & Rowe 1969, J. R. Stat. Soc. A
132:235). The bound of one side does not count on stopping at the other. Agrees with R's
`gsDesign(sfu = sfLDOF)`.

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

An extension is one more look that is planned but not always taken: only where the looks before it
left open what more samples may decide (`qgate.measure.looks.Rows.call_for_more`). A tenth of alpha
is reserved for it, the looks before share the rest, so that z is 2.012 in place of 1.969 at the
second of two looks, and 2.57 at an extension of as many items again: its interval is a tenth
narrower, more where the first half was an unlucky one. Not to take it can only err less: it is a
stop for futility that no bound counts on.

Any interval that takes a level can be looked at so (`Looks`): the bound z of a look is the nominal
level 2 * P(Z < z) - 1 at which the plain interval is taken there. The share t is counted in what is
drawn independently: items, prompts, windows, pairs of requests. A p-value becomes the repeated one:
the smallest error at which the plan would have stopped at this look (Jennison & Turnbull 2000,
"Group Sequential Methods", 9.2). It is valid at whichever look a row ends, so that `judge` and
Bonferroni's correction take it as any other.

What an estimate does from look to look must be no less alike than a mean's is: correlated by the
root of t1 / t2. More alike, as where a document is spread over two looks, errs less. Less alike, as
for a slope, of which the information grows with the third power of the steps, errs by no more than
the early looks' own error, here at most 0.0015 of 0.025. Simulated artifacts exactly at their
limit, nominal 0.025 to pass and to fail (tests/stats/test_looks.py):

    quantity, looks                               passed           failed
    mean KL, lognormal, 16, 32 windows            0.043 (0.039)    0.012 (0.012)
    its 99th percentile                           0.018 (0.019)    0.024 (0.025)
    ratio of perplexities                         0.026 (0.026)    0.020 (0.021)
    same top token, p = 0.92                      0.026 (0.026)    0.020 (0.020)
    paired answers, 50, 100, 150, 200 items       0.027 (0.027)    0.037 (0.037)
    mean KL, 16, 32, extension to 64 windows      0.047            0.013
    its 99th percentile, the same                 0.020            0.027
    median ratio, 12, 16, 24 pairs                0.010 (0.008)    0.012 (0.012)
    growth, 30, 60 batches, random walk           0.025 (0.026)    0.024 (0.026)
    the same, white noise                         0.007 (0.007)    0.009 (0.009)

in brackets what the plain interval of all samples gives (of likelihoods 10,000 artifacts each,
three standard errors are 0.005, of the mean KL at two looks 20,000; of the others 1,000, 0.015). A
mean as skewed as that of KL errs in more than 0.025 by itself, and a little more where it is looked
at twice or has an extension, which 0.14 of these artifacts had, and 0.31 for the percentile. An
alarm by a p-value at 0.05, four looks at 200 items of which 6 % flip, went off in 0.031 of 2,000
undamaged artifacts.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.stats.student_t import normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.records import Estimate
    from qgate.stats.binomial import Floats

LOOKS = 4
"""3 to 5 save most of what can be saved."""
_FEWEST_A_LOOK = 16
"""Items: fewer decide nothing at an early look, and are slower asked in parts than at once."""
_RESERVED = 0.1
"""Share of alpha that is kept for an extension."""
_SUREST = 1.0 - 1e-12
"""No interval is asked for a level above."""
_SHOWS_NOTHING = 0.4
"""No error that anybody allows is as large as a p-value above."""
_CLOSE = 1e-3
"""When a p-value is known well enough: to a thousandth of itself."""
_LEAST_P = 1e-15
_NODES = 96
_FARTHEST = 8.5
"""In standard deviations: where the integration begins, and no bound is needed beyond."""
_HALVINGS = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """When to look, and how far the score statistic must be from the limit to stop there."""

    looks: tuple[int, ...]
    """Items answered at each look; the last are all there are."""
    z: tuple[float, ...]
    """The bound of the score statistic at each look, on either side."""
    level: float
    """At which the intervals of all looks hold together."""

    def nominal(self, look: int) -> float:
        """The level of the plain two-sided interval that is taken at a look, from 1."""
        return min(_SUREST, math.erf(self.z[look - 1] / math.sqrt(2.0)))


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
    return plan_at(tuple(round(n * number / looks) for number in range(1, looks + 1)), level)


def plan_at(ends: Sequence[int], level: float, *, has_extension: bool = False) -> Plan:
    """Plan looks when so many items are answered.

    Args:
        ends: items answered at each look, rising; the last are all there are.
        level: of all looks together, e.g. 0.95.
        has_extension: the last look is taken only where the others left something open.
    """
    rising = [0, *ends]
    if not ends or sorted(set(rising)) != rising or not 0.0 < level < 1.0:
        raise ValueError(f"looks: got {list(ends)}, level {level}; expected rising numbers")
    z = _bounds(ends, _steps(ends, (1.0 - level) / 2.0, has_extension))
    return Plan(looks=tuple(ends), z=tuple(z), level=level)


def look_ends(n: int, looks: int = LOOKS, fewest: int = _FEWEST_A_LOOK) -> tuple[int, ...]:
    """When to look at n items that can be asked in any number: equal parts, none too small.

    Args:
        n: items, at least 1.
        looks: at most.
        fewest: items that are enough for a look.
    """
    count = max(1, min(looks, n // fewest))
    return tuple(round(n * number / count) for number in range(1, count + 1))


def repeated_p_value(
    p_value: float, ends: Sequence[int], look: int, *, has_extension: bool = False
) -> float:
    """The p-value that holds although there were looks before, and would have been more after.

    The smallest error at which a plan of these looks would have stopped here: no smaller than the
    plain p-value, and at the last look hardly larger.

    Args:
        p_value: one-sided, of what is known at this look.
        ends: of the plan.
        look: from 1.
        has_extension: of the plan.
    """
    if len(ends) == 1:
        return p_value
    if p_value >= _SHOWS_NOTHING:
        return 1.0
    reached = normal_quantile(1.0 - max(p_value, _LEAST_P))

    low, high = math.log(max(p_value, _LEAST_P)), 0.0
    while high - low > _CLOSE:
        middle = (low + high) / 2.0
        steps = _steps(ends, math.exp(middle), has_extension)[:look]
        bound = _bounds(ends[:look], steps)[-1]
        low, high = (low, middle) if bound <= reached else (middle, high)
    return math.exp(high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looks:
    """At which of several planned looks samples were judged."""

    ends: tuple[int, ...]
    """Items answered at each look; the last are all there are."""
    look: int
    """From 1."""
    has_extension: bool = False
    """Whether the last of them is taken only where the others left something open."""

    @property
    def n(self) -> int:
        """Items answered so far."""
        return self.ends[self.look - 1]

    @property
    def count(self) -> int:
        """How many looks there are; an extension counts once it is taken."""
        return max(self.look, len(self.ends) - self.has_extension)

    @property
    def is_last(self) -> bool:
        """Whether nothing follows, or an extension at most."""
        return self.look == self.count

    def nominal(self, level: float) -> float:
        """The level at which the plain interval is taken here, so that all looks hold `level`."""
        if len(self.ends) == 1:
            return level
        return plan_at(self.ends, level, has_extension=self.has_extension).nominal(self.look)

    def held(self, found: Estimate, level: float) -> Estimate:
        """What was estimated at the nominal level of this look, as an estimate at `level`."""
        if len(self.ends) == 1:
            return found
        p_value, is_extended = found.p_value, self.has_extension
        if p_value is not None:
            p_value = repeated_p_value(p_value, self.ends, self.look, has_extension=is_extended)
        if self.count == 1:
            return dataclasses.replace(found, level=level, p_value=p_value)
        look = (self.look, self.count)
        method = f"{found.method}, look {self.look} of {self.count}"
        return dataclasses.replace(found, level=level, method=method, p_value=p_value, look=look)

    def details(self, of: str = "of_items") -> dict[str, Any]:
        """What the report tells of them; nothing where there is one look only."""
        if self.count == 1:
            return {}
        last = self.ends[self.count - 1]
        return {"sequential": {"look": self.look, "looks": self.count, of: last}}


def level_at_end(n: int, level: float) -> float:
    """The level of a plain interval that is as wide as the one of the last look.

    What passes it passes the plan, at an earlier look if not at the last, but for the few that fail
    one before: a chance reckoned with it is hardly too high.
    """
    return math.erf(plan_at(look_ends(n), level).z[-1] / math.sqrt(2.0))


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
        nodes, weights = _rule()
        scale, variance = math.sqrt(items), items - self.items
        half = (min(z, _FARTHEST) + _FARTHEST) / 2.0 * scale
        sums = (nodes + 1.0) * half - _FARTHEST * scale
        steps = sums[:, None] - self.sums
        density = np.exp(-(steps**2) / (2.0 * variance)) / math.sqrt(2.0 * math.pi * variance)
        return _Reached(items=items, sums=sums, masses=weights * half * (density @ self.masses))


@functools.cache
def _rule() -> tuple[Floats, Floats]:
    """Nodes and weights on -1..1: they take longer than all the rest."""
    return np.polynomial.legendre.leggauss(_NODES)


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


def _steps(ends: Sequence[int], alpha: float, has_extension: bool = False) -> list[float]:
    """What each look may spend of alpha."""
    planned = ends[:-1] if has_extension else ends
    shared = alpha * (1.0 - _RESERVED) if has_extension else alpha
    spent = [0.0, *(_spent(count / planned[-1], shared) for count in planned)]
    if has_extension:
        spent.append(alpha)
    return [later - earlier for earlier, later in itertools.pairwise(spent)]


def _spent(share: float, alpha: float) -> float:
    return math.erfc(normal_quantile(1.0 - alpha / 2.0) / math.sqrt(2.0 * share))
