"""Several alarms on one artifact: that any goes off by chance is held to the error of one.

Alarms that go by a p-value are one family for each artifact: their p-values are adjusted by Holm's
method over all of them that the limits set, but for those that do not apply to the original. One
that could not be measured counts as one that shows nothing, which only makes the others stricter.

Most rows are decided by their own p-value: times the size of the family it is small enough whatever
the others show, or by itself too large. Only between the two all others are measured, picked or
not, so that no verdict depends on which rows a run picked.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate import stats
from qgate.checks import CHECKS, area_of
from qgate.errors import NotApplicable, QGateError
from qgate.measure.measurement import Comparison
from qgate.measure.tasks.paired_binary import detectable_drop
from qgate.records import Estimate
from qgate.verdict import is_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.measure.measurement import Estimates, Measurement
    from qgate.records import Limit


_NOT_APPLICABLE = "the original tells nothing"
_ERROR = 0.05
"""That an undamaged artifact sets off any alarm of the family, at the usual level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected:
    """Samples whose p-value is adjusted for the family that its alarm belongs to."""

    measured: Measurement
    p_value: float
    p_at_worst: float | None
    """Adjusted likewise, of an artifact that lost everything."""
    n: int
    family: int

    def estimate(
        self, check: str, level: float, parameters: Mapping[str, float]
    ) -> Estimate | Estimates:
        found = self.measured.estimate(check, level, parameters)
        if not isinstance(found, Estimate):
            return found
        return dataclasses.replace(found, p_value=self.p_value)

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate | None:
        worst = _worst(self.measured, check, level, parameters)
        return worst and dataclasses.replace(worst, p_value=self.p_at_worst)

    def details(self, check: str) -> dict[str, Any]:
        details = {**self.measured.details(check), "family": self.family}
        if "detectable_drop" in details:
            # what flips without damage flips both ways; Holm's strictest step is Bonferroni's
            flips, error = 2 * min(details["lost"], details["gained"]), _ERROR / self.family
            details["detectable_drop"] = detectable_drop(self.n, flips, error)
        return details


def family_of(limits: Mapping[str, Limit]) -> dict[str, Limit]:
    """The alarms that go by a p-value: those on differences of shares or scores."""
    return {
        check: limit
        for check, limit in limits.items()
        if limit.rule == "alarm" and (area_of(check) == "accuracy" or _is_paired(check))
    }


def _is_paired(check: str) -> bool:
    return check in CHECKS and CHECKS[check].is_paired


def correct(
    check: str,
    measured: Measurement,
    family: Mapping[str, Limit],
    measure: Callable[[str], Measurement],
) -> Measurement:
    """The samples with their p-value adjusted, where they belong to a family of several.

    Args:
        check: the row.
        measured: its samples.
        family: every alarm of the artifact that goes by a p-value.
        measure: samples of another row; a QGateError where there are none.
    """
    if check not in family or len(family) == 1:
        return measured
    limit = family[check]
    own = measured.estimate(check, limit.level, limit.parameters)
    if not isinstance(own, Estimate) or own.p_value is None:
        return measured
    worst = _worst(measured, check, limit.level, limit.parameters)
    p_at_worst = None
    if worst is not None and worst.p_value is not None:
        p_at_worst, _ = _adjusted(check, worst.p_value, family, measure)
    p_value, size = _adjusted(check, own.p_value, family, measure)
    return Corrected(
        measured=measured, p_value=p_value, p_at_worst=p_at_worst, n=own.n, family=size
    )


def _worst(
    measured: Measurement, check: str, level: float, parameters: Mapping[str, float]
) -> Estimate | None:
    if isinstance(measured, Comparison):
        return measured.worst(check, level, parameters)
    return None


def _adjusted(
    check: str,
    p_value: float,
    family: Mapping[str, Limit],
    measure: Callable[[str], Measurement],
) -> tuple[float, int]:
    """The p-value in its family, and how many alarms that is."""
    limit, whole = family[check], min(1.0, p_value * len(family))
    if is_shown(p_value, limit) and not is_shown(whole, limit):
        return _among_others(check, p_value, family, measure)
    return whole, len(family)


def _among_others(
    check: str,
    p_value: float,
    family: Mapping[str, Limit],
    measure: Callable[[str], Measurement],
) -> tuple[float, int]:
    """Holm's p-value, and how many alarms apply."""
    others = {
        name: _estimate(name, limit, measure) for name, limit in family.items() if name != check
    }
    size = len(family) - list(others.values()).count(_NOT_APPLICABLE)
    told = [one.p_value for one in others.values() if isinstance(one, Estimate)]
    p_values = [p_value, *(one for one in told if one is not None)]
    return stats.holm(p_values, family=size)[0], size


def _estimate(
    check: str, limit: Limit, measure: Callable[[str], Measurement]
) -> Estimate | str | None:
    """The row's number; `_NOT_APPLICABLE`, or None where it could not be measured."""
    try:
        found = measure(check).estimate(check, limit.level, limit.parameters)
    except NotApplicable:
        return _NOT_APPLICABLE
    except QGateError:
        return None  # its own row says so
    return found if isinstance(found, Estimate) else None
