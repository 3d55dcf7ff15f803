"""Several alarms on one artifact: that any goes off by chance is held to the error of one.

Alarms that go by a p-value are one family for each artifact: their p-values are adjusted by Holm's
method over all of them that the limits set, but for those that do not apply to the original. A row
that was not picked or could not be measured counts as one that shows nothing, which only makes the
others stricter.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate import stats
from qgate.checks import CHECKS, area_of
from qgate.errors import NotApplicable, QGateError
from qgate.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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
    n: int
    family: int

    def estimate(
        self, check: str, level: float, parameters: Mapping[str, float]
    ) -> Estimate | Estimates:
        found = self.measured.estimate(check, level, parameters)
        if not isinstance(found, Estimate):
            return found
        return dataclasses.replace(found, p_value=self.p_value)

    def details(self, check: str) -> dict[str, Any]:
        details = {**self.measured.details(check), "family": self.family}
        if "detectable_drop" in details:
            # what flips without damage flips both ways; Holm's strictest step is Bonferroni's
            flips, error = 2 * min(details["lost"], details["gained"]), _ERROR / self.family
            details["detectable_drop"] = stats.detectable_drop(self.n, flips, alpha=error)
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
    picked: Collection[str],
    measure: Callable[[str], Measurement],
) -> Measurement:
    """The samples with their p-value adjusted, where they belong to a family of several.

    Args:
        check: the row.
        measured: its samples.
        family: every alarm of the artifact that goes by a p-value.
        picked: the rows that this run measures.
        measure: samples of another row; a QGateError where there are none.
    """
    if check not in family or len(family) == 1:
        return measured
    found = {
        name: _estimate(name, limit, measured if name == check else None, measure)
        for name, limit in family.items()
        if name == check or name in picked
    }
    size = len(family) - list(found.values()).count(_NOT_APPLICABLE)
    told = {name: one for name, one in found.items() if isinstance(one, Estimate)}
    p_values = {name: one.p_value for name, one in told.items() if one.p_value is not None}
    if check not in p_values or size == 1:
        return measured
    adjusted = stats.holm(list(p_values.values()), family=size)
    p_value = dict(zip(p_values, adjusted, strict=True))[check]
    return Corrected(measured=measured, p_value=p_value, n=told[check].n, family=size)


def _estimate(
    check: str, limit: Limit, known: Measurement | None, measure: Callable[[str], Measurement]
) -> Estimate | str | None:
    """The row's number; `_NOT_APPLICABLE`, or None where it could not be measured."""
    try:
        found = (known or measure(check)).estimate(check, limit.level, limit.parameters)
    except NotApplicable:
        return _NOT_APPLICABLE
    except QGateError:
        return None  # its own row says so
    return found if isinstance(found, Estimate) else None
