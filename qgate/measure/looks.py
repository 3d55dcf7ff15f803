"""Asks in parts, and stops at the first look at which every verdict is certain.

What several rows rest on is asked until all of them are decided: those that have a limit, picked
for this run or not, so that no number depends on which rows a run picked. Nothing is asked in parts
where no row has a limit.

    rule      p_value   decided at a look when
    certify   any       the interval at that look passes or fails the limit
    alarm     without   the same: an interval that holds the limit whole shows no damage beyond it
    alarm     with      damage is shown and beyond the limit, its p-value times all alarms of the
                        artifact (Bonferroni); or the interval holds the limit whole

An extension is more than was planned to be asked, where there can be more and no row FAILs: for a
row that would end INCONCLUSIVE although its value is more than 15 % from its limit, of the way from
an undamaged artifact to the limit. One that is closer would take many times as much. Rows that were
certain before keep their verdict.

`judge` decides all of it. Intervals and p-values are those of the look (`qgate.stats.Looks`), at
the last look as well, where a row ends with whatever verdict it has. What an artifact cannot be
judged by yet, because too little is known for an interval, is not decided.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qgate.checks import UNDAMAGED
from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.measurement import Comparison
from qgate.records import Estimate, Limit, Verdict
from qgate.verdict import adjust, increase, judge, judge_family
from qgate.verdict.judge import deciding_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qgate.measure.measurement import Estimates, Measurement
    from qgate.stats import Looks

Found = TypeVar("Found")
_FAR = 0.15
"""Of the way from an undamaged artifact to the limit: where a value is farther from the limit, as
much again may well decide."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The rows that rest on the same samples, as far as they have a limit."""

    limits: Mapping[str, Limit]
    """By check."""
    family: int = 1
    """How many alarms of the artifact go by a p-value."""

    @classmethod
    def of(cls, checks: Iterable[str], limits: Mapping[str, Limit], family: int = 1) -> Rows:
        """Those of these checks to which a limit is set."""
        found = {check: limits[check] for check in checks if check in limits}
        return cls(limits=found, family=family)

    @property
    def can_stop(self) -> bool:
        """Whether there is anything to decide."""
        return bool(self.limits)

    def have(self, parameter: str) -> bool:
        """Whether a limit is measured with this parameter."""
        return any(parameter in limit.parameters for limit in self.limits.values())

    def are_decided(self, measured: Measurement) -> bool:
        """Whether the verdict of every row is certain."""
        return all(self._is_decided(check, measured) for check in self.limits)

    def call_for_more(self, measured: Measurement) -> bool:
        """Whether a row would end INCONCLUSIVE far from its limit, and none FAILs."""
        is_open = False
        for check in self.limits:
            found, limit = self._found(check, measured)
            for member in found:
                if judge(member, limit) is Verdict.FAIL:
                    return False
                is_open = is_open or _is_open_and_far(member, limit)
        return is_open

    def decided(self, measured: Measurement) -> frozenset[str]:
        """Checks of which the verdict is certain."""
        return frozenset(check for check in self.limits if self._is_decided(check, measured))

    def _found(self, check: str, measured: Measurement) -> tuple[list[Estimate], Limit]:
        """What a row is judged by; nothing where it is not judged, or too little is known."""
        limit = self._settled(check, measured)
        if limit is None:
            return [], self.limits[check]
        try:
            found = measured.estimate(check, limit.level, limit.parameters)
        except MeasurementError:
            return [], limit
        return ([found] if isinstance(found, Estimate) else list(found.values())), limit

    def _settled(self, check: str, measured: Measurement) -> Limit | None:
        """The limit that a row is held to; None: it is shown, and not judged."""
        limit = self.limits[check]
        if check != increase.CHECK:
            return limit
        return increase.settle(check, limit, measured.details(check))[0]

    def _is_decided(self, check: str, measured: Measurement) -> bool:
        limit = self._settled(check, measured)
        if limit is None:
            return True
        try:
            found = measured.estimate(check, limit.level, limit.parameters)
            worst = _worst(check, limit.level, limit.parameters, measured)
            return self._decides(found, limit) and (worst is None or self._has_room(worst, limit))
        except MeasurementError:
            return False  # too little for an interval; at the end the row itself says so

    def _decides(self, found: Estimate | Estimates, limit: Limit) -> bool:
        if not isinstance(found, Estimate):
            return self._word_of_family(found, limit) is not Verdict.INCONCLUSIVE
        return self._word(found, limit) is not Verdict.INCONCLUSIVE

    def _word(self, found: Estimate, limit: Limit) -> Verdict:
        """PASS or FAIL where that is certain, else INCONCLUSIVE."""
        word = judge(found, dataclasses.replace(limit, rule="certify"))
        if limit.rule == "certify" or found.p_value is None or None not in (limit.min, limit.max):
            return word
        if word is Verdict.PASS:
            return word
        is_shown = judge(adjust(found, limit, self.family), limit) is Verdict.FAIL
        return Verdict.FAIL if is_shown else Verdict.INCONCLUSIVE

    def _word_of_family(self, members: Estimates, limit: Limit) -> Verdict:
        words = {self._word(member, limit) for member in members.values()}
        if Verdict.FAIL in words:
            _, word = judge_family(members, limit)
            return word if word is Verdict.FAIL else Verdict.INCONCLUSIVE
        return Verdict.PASS if words == {Verdict.PASS} else Verdict.INCONCLUSIVE

    def _has_room(self, worst: Estimate, limit: Limit) -> bool:
        """Whether an artifact that lost everything so far would fail."""
        if limit.rule == "certify" or worst.p_value is None:
            lost = dataclasses.replace(worst, low=worst.value, high=worst.value)
        else:
            lost = adjust(worst, limit, self.family)
        return judge(lost, limit) is Verdict.FAIL


def _is_open_and_far(found: Estimate, limit: Limit) -> bool:
    # what a lower bound leaves open, no number of samples decides
    if judge(dataclasses.replace(found, is_open=False), limit) is not Verdict.INCONCLUSIVE:
        return False
    side = deciding_side(found, limit)
    way = abs(side.bound - UNDAMAGED.get(found.unit, 0.0))
    return abs(side.slack(found.value)) > _FAR * way


def _worst(
    check: str, level: float, parameters: Mapping[str, float], measured: Measurement
) -> Estimate | None:
    if isinstance(measured, Comparison):
        return measured.worst(check, level, parameters)
    return None


def estimate_at(looks: Looks, check: str, estimate: Callable[[], Found]) -> Found:
    """What samples up to a look tell of a row.

    Raises:
        MeasurementError: all samples are too few.
        NotApplicable: these are, of a row without a limit: one with a limit had asked on.
    """
    try:
        return estimate()
    except MeasurementError as error:
        if looks.is_last or isinstance(error, NotApplicable):
            raise
        raise NotApplicable(
            f"{check}: the rows that have a limit were certain before there was enough for an"
            f" interval of this one: {error}"
        ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class InterimResult:
    """Samples up to a look, with the intervals that hold although there were looks before."""

    measured: Measurement
    looks: Looks

    def estimate(
        self, check: str, level: float, parameters: Mapping[str, float]
    ) -> Estimate | Estimates:
        nominal = self.looks.nominal(level)
        found = estimate_at(
            self.looks, check, lambda: self.measured.estimate(check, nominal, parameters)
        )
        if isinstance(found, Estimate):
            return self.looks.held(found, level)
        return {name: self.looks.held(member, level) for name, member in found.items()}

    @property
    def min_reference(self) -> float | None:
        return self.measured.min_reference if isinstance(self.measured, Comparison) else None

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate | None:
        found = _worst(check, self.looks.nominal(level), parameters, self.measured)
        return found and self.looks.held(found, level)

    def details(self, check: str) -> dict[str, Any]:
        return {**self.measured.details(check), **self.looks.details()}
