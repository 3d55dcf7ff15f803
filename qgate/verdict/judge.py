"""(estimate, limit) → verdict, a truth table.

    rule      p_value    PASS           FAIL                                INCONCLUSIVE
    certify   any        high <= max    low > max                           otherwise
    alarm     without    otherwise      low > max                           never
    alarm     with       otherwise      value > max, p <= 1 - level         never

An alarm has one rule: it goes off where damage is shown and is beyond the limit. Paired answers
show damage by their test, and the value says how large it is; elsewhere the interval says both.
An open lower bound (`Estimate.is_open`) is never a PASS where there is a `max`: what would be one
is INCONCLUSIVE, under either rule, and a FAIL is a FAIL.

Mirrored for `min`. With both bounds a PASS needs both, one broken bound is a FAIL, and a p-value,
which knows one side only, counts for nothing. That damage has to be shown and to be of a size that
matters is how asv, criterion and rustc-perf decide on regressions. Of several such alarms on one
artifact the p-values come adjusted (`qgate.verdict.multiplicity`): 1 - level is the chance that an
undamaged artifact sets off any of them. Its PASS needs every row, and so no correction
(intersection-union, Berger 1982, doi:10.1080/00401706.1982.10487790).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.checks import UNDAMAGED
from qgate.errors import MeasurementError, ThresholdsError
from qgate.records import Estimate, Limit, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROUNDING = 1e-12
"""1 - 0.95 is a little more than 0.05, 1 - 0.9 a little less than 0.1."""
_TELLING_FIRST = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


@dataclass(frozen=True, slots=True)
class Side:
    """One bound of a limit; distances are positive on its good side."""

    bound: float
    is_upper: bool

    def slack(self, value: float) -> float:
        return self.bound - value if self.is_upper else value - self.bound

    def good_end(self, estimate: Estimate) -> float:
        return estimate.low if self.is_upper else estimate.high

    def bad_end(self, estimate: Estimate) -> float:
        return estimate.high if self.is_upper else estimate.low

    def is_held(self, estimate: Estimate) -> bool:
        return self.slack(self.bad_end(estimate)) >= 0

    def is_broken(self, estimate: Estimate) -> bool:
        return self.slack(self.good_end(estimate)) < 0


def judge(estimate: Estimate, limit: Limit) -> Verdict:
    """Hold an estimate against a limit.

    Raises:
        ThresholdsError: the limit has no bound, or one that is not finite.
        MeasurementError: the estimate's interval has another level than the limit asks for, or a
            p-value that is none.
    """
    sides = sides_of(limit)
    if not math.isclose(estimate.level, limit.level):
        raise MeasurementError(
            f"{limit.check}: got an interval at level {estimate.level:g}; expected {limit.level:g} "
            f"({limit.source})."
        )
    p_value = deciding_p_value(estimate, limit)
    if p_value is not None:
        is_beyond = sides[0].slack(estimate.value) < 0
        return Verdict.FAIL if is_beyond and is_shown(p_value, limit) else Verdict.PASS
    if any(side.is_broken(estimate) for side in sides):
        return Verdict.FAIL
    if estimate.is_open and limit.max is not None:
        return Verdict.INCONCLUSIVE
    if limit.rule == "alarm" or all(side.is_held(estimate) for side in sides):
        return Verdict.PASS
    return Verdict.INCONCLUSIVE


def judge_family(members: Mapping[str, Estimate], limit: Limit) -> tuple[str, Verdict]:
    """Hold several estimates against one limit: the row is as good as its worst member.

    Args:
        members: by name; that there are several of them is accounted for in their intervals.
        limit: of the row.

    Returns:
        The member that tells, and the verdict of all: of the members with that verdict the one
        with the worst bad end, where it is FAIL the one that fails most surely.

    Raises:
        ThresholdsError: as `judge`.
        MeasurementError: as `judge`, or no members.
    """
    if not members:
        raise MeasurementError(f"{limit.check}: got no members; expected at least 1.")
    verdicts = {name: judge(estimate, limit) for name, estimate in members.items()}
    verdict = next(word for word in _TELLING_FIRST if word in verdicts.values())

    def room(name: str) -> float:
        estimate = members[name]
        fails = verdict is Verdict.FAIL
        return min(
            side.slack(side.good_end(estimate) if fails else side.bad_end(estimate))
            for side in sides_of(limit)
        )

    return min((name for name in members if verdicts[name] is verdict), key=room), verdict


def sides_of(limit: Limit) -> list[Side]:
    """The bounds of a limit.

    Raises:
        ThresholdsError: it has none, or one that is not finite.
    """
    sides = [
        Side(bound, is_upper)
        for bound, is_upper in ((limit.max, True), (limit.min, False))
        if bound is not None
    ]
    if not sides or not all(math.isfinite(side.bound) for side in sides):
        raise ThresholdsError(
            f"{limit.source}: {limit.check}: got min {limit.min}, max {limit.max}; "
            "expected a finite bound."
        )
    return sides


def deciding_side(estimate: Estimate, limit: Limit) -> Side:
    """The bound that decides: the one that the interval's bad end is worst against."""
    sides = sides_of(limit)
    return min(
        sides,
        key=lambda side: (not side.is_broken(estimate), side.slack(side.bad_end(estimate))),
    )


def deciding_p_value(estimate: Estimate, limit: Limit) -> float | None:
    """The p-value that an alarm goes by; None where the interval decides.

    Raises:
        MeasurementError: it is no number from 0 to 1.
    """
    p_value = estimate.p_value
    if p_value is None or limit.rule != "alarm" or None not in (limit.min, limit.max):
        return None
    if not 0 <= p_value <= 1:
        raise MeasurementError(
            f"{limit.check}: got a p-value of {p_value}; expected 0 to 1 ({limit.source})."
        )
    return p_value


def excludes_no_damage(estimate: Estimate, *, is_upper: bool) -> bool | None:
    """Whether the interval lies on the bad side of an undamaged artifact's value.

    None where no value of the unit is that of an undamaged artifact: milliseconds, words.
    """
    undamaged = UNDAMAGED.get(estimate.unit)
    if undamaged is None:
        return None
    side = Side(undamaged, is_upper)
    return side.is_broken(estimate)


def is_shown(p_value: float, limit: Limit) -> bool:
    """Whether damage of any size is beyond doubt."""
    return p_value <= 1 - limit.level + _ROUNDING
