"""Whether the limit on a task can be decided with its items: said before anything is measured.

From the number of items, the margin, and the share of answers that flip without damage follows how
likely an undamaged artifact is certified. A row for which that is unlikely would end INCONCLUSIVE,
whatever is measured: it is refused, or becomes an alarm where its rule is `auto`.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError, ThresholdsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qgate.planning.noise_floor import Noise
    from qgate.records import Asked, Limit

ASSUMED_FLIP_RATE = 0.06
"""Where nobody measured: 5 to 14 % of answers flip under quantization that changes accuracy by no
more than 2 points (Dutta et al. 2024, "Accuracy is Not All You Need", arXiv:2407.09141)."""
LEAST_CHANCE = 0.5
"""A limit that an undamaged artifact meets less often can hardly be decided."""
GOOD_CHANCE = 0.8
"""The usual power, for which the number of items is named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlipRate:
    """A share of answers that change without damage, and who says so."""

    rate: float
    source: str

    def __str__(self) -> str:
        return f"{self.rate * 100:g} % of answers {self.source}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """How likely a certified limit is decided in favour of an undamaged artifact."""

    limit: Limit
    asked: Asked
    flips: FlipRate
    chance: float

    def describe(self) -> str:
        """One line: how likely a decision is."""
        asked = self.asked
        items = f"{'up to ' if asked.is_sequential else ''}{asked.items} items"
        # what items of a group have in common is not known before they are answered
        most = "at most " if asked.is_grouped else ""
        return (
            f"{self.limit.check}: {self.limit.rule} {_points(self.limit)} with {items}: an"
            f" undamaged artifact passes with a chance of {most}{self.chance:.0%} ({self.flips})"
        )


class Feasibility:
    """Settles rules `auto`, and refuses what can hardly be decided."""

    def __init__(self, asked: Iterable[Asked], floor: Noise | None = None) -> None:
        self._asked = {one.check: one for one in asked}
        self._floor = floor
        self._prospects: dict[tuple[object, ...], Prospect] = {}

    def settle(self, limits: Mapping[str, Limit]) -> dict[str, Limit]:
        """The limits, `auto` replaced by the rule that can be decided.

        Raises:
            ThresholdsError: a certified one can hardly be; the message names the items it takes.
        """
        return {check: self._settled(limit) for check, limit in limits.items()}

    def describe(self, limits: Iterable[Mapping[str, Limit]]) -> list[str]:
        """Lines for a run's header: what is certified on items, of any of these settled limits."""
        by_artifact = [self._prospects_of(each) for each in limits]
        lines = dict.fromkeys(one.describe() for each in by_artifact for one in each)
        worst = min(by_artifact, key=_chance_together, default=[])
        return [f"qgate: {line}" for line in (*lines, *_describe_together(worst))]

    def _prospects_of(self, limits: Mapping[str, Limit]) -> list[Prospect]:
        certified = (limit for limit in limits.values() if limit.rule == "certify")
        return [found for limit in certified if (found := self._prospect(limit))]

    def _settled(self, limit: Limit) -> Limit:
        if limit.rule == "alarm":
            return limit
        prospect = self._prospect(dataclasses.replace(limit, rule="certify"))
        is_hard = prospect is not None and prospect.chance < LEAST_CHANCE
        if limit.rule == "auto":
            return dataclasses.replace(limit, rule="alarm" if is_hard else "certify")
        if prospect is not None and is_hard:
            raise ThresholdsError(_refusal(prospect))
        return limit

    def _prospect(self, limit: Limit) -> Prospect | None:
        asked = self._asked.get(limit.check)
        if asked is None or not asked.is_yes_or_no:
            return None
        key = (limit.check, limit.min, limit.level)
        if key not in self._prospects:
            flips = _flips(asked, self._floor)
            chance = _chance(asked, _margin(limit), flips, limit.level)
            self._prospects[key] = Prospect(limit=limit, asked=asked, flips=flips, chance=chance)
        return dataclasses.replace(self._prospects[key], limit=limit)


def _chance_together(prospects: Sequence[Prospect]) -> float:
    return math.prod(one.chance for one in prospects)


def _describe_together(prospects: Sequence[Prospect]) -> Iterator[str]:
    if len(prospects) < 2:
        return
    most = "at most " if any(one.asked.is_grouped for one in prospects) else ""
    yield (
        f"an undamaged artifact passes its {len(prospects)} certified rows of items together with a"
        f" chance of {most}{_chance_together(prospects):.0%}, were they independent"
    )


def _chance(asked: Asked, margin: float, flips: FlipRate, level: float) -> float:
    from qgate import stats  # numpy, which collecting does without where nothing is certified

    if margin == 0:
        return 0.0
    return stats.chance_to_certify(asked.items, margin, flips.rate, _level(asked, level))


def _level(asked: Asked, level: float) -> float:
    """Of the interval that decides when every item is answered."""
    from qgate import stats

    return stats.level_at_end(asked.items, level) if asked.is_sequential else level


def _margin(limit: Limit) -> float:
    return abs(limit.min or 0.0)


def _points(limit: Limit) -> str:
    return f"a drop of {_margin(limit) * 100:g} pp"


def _flips(asked: Asked, floor: Noise | None) -> FlipRate:
    """What the file says; else what is assumed, but no less than this machine's own noise.

    The reference against itself is a floor: quantization flips more, and no less.
    """
    if asked.flip_rate is not None:
        return FlipRate(rate=asked.flip_rate, source="flip, says flip_rate")
    measured = floor.flips_of(asked.check) if floor else None
    if measured is not None and measured.rate > ASSUMED_FLIP_RATE:
        return FlipRate(rate=measured.rate, source="flip in two runs of the reference here")
    return FlipRate(rate=ASSUMED_FLIP_RATE, source="assumed to flip")


def _refusal(prospect: Prospect) -> str:
    limit, asked = prospect.limit, prospect.asked
    return (
        f"{limit.source}: {limit.check}: certify {_points(limit)} with {asked.items} items can"
        f" hardly be decided: got a chance of {prospect.chance:.0%} that an undamaged artifact"
        f" passes ({prospect.flips}); expected at least {LEAST_CHANCE:.0%}. {_remedy(prospect)}"
    )


def _remedy(prospect: Prospect) -> str:
    from qgate import stats

    others = "raise max_drop, write the flip_rate that you measured, or rule: auto or alarm"
    margin = _margin(prospect.limit)
    if margin == 0:
        return f"No number of items certifies a drop of 0: {others}"
    try:
        level = _level(prospect.asked, prospect.limit.level)
        items = stats.items_to_certify(margin, prospect.flips.rate, level, GOOD_CHANCE)
    except MeasurementError:
        return others[0].upper() + others[1:]
    return f"Ask {items} items for {GOOD_CHANCE:.0%}, {others}"
