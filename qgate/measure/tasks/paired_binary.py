"""Yes-or-no questions about both sides: is it right, did it end, does it loop?

    value = share(artifact) - share(reference), paired by prompt

with Tango's score interval, and the exact McNemar test of damage: more prompts on which only the
artifact is worse than on which only the reference is. lm-evaluation-harness and most leaderboards
compare the two shares as if they came from different prompts.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats
from qgate.errors import MeasurementError
from qgate.measure.tasks.anomalies import implausible_gain
from qgate.measure.tasks.paired_items import PairedItems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate

_ALPHA = 0.05
"""Of the test that an alarm at the usual level goes by, were it the only one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAnswers(PairedItems):
    """One row's flags for every prompt: `artifact` and `reference` are bool."""

    is_good: bool
    """Whether a set flag is good: a right answer is, a loop is not."""
    margins_nats: np.ndarray | None = None
    """Which flips are worst, shape (n,); None: those that come first."""

    @property
    def is_lost(self) -> np.ndarray:
        """Prompts on which only the artifact is worse."""
        lost: np.ndarray = (self.artifact != self.reference) & (self.artifact != self.is_good)
        return lost

    @property
    def is_gained(self) -> np.ndarray:
        gained: np.ndarray = (self.artifact != self.reference) & (self.artifact == self.is_good)
        return gained

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        found = stats.paired_difference(self.artifact, self.reference, self.labels, level=level)
        if self.is_good:
            return found
        # the test is of damage, whichever way that shows
        lost, gained = int(self.is_lost.sum()), int(self.is_gained.sum())
        p_value = stats.mcnemar_exact(lost, gained)
        return dataclasses.replace(found, p_value=p_value, test="exact McNemar")

    def at_worst(self) -> PairedAnswers:
        """As if the artifact had every flag that is bad."""
        return dataclasses.replace(self, artifact=np.full_like(self.reference, not self.is_good))

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return self.at_worst().estimate(check, level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        lost, gained = int(self.is_lost.sum()), int(self.is_gained.sum())
        return {
            **self.shares(lost, gained),
            **self._detectable(lost, gained),
            "worst": self.both_answers(self._worst()),
            **self.told(),
            "findings": [
                *self.more.get("findings", ()),
                *(implausible_gain(lost, gained) if self.expected else ()),
            ],
        }

    def _detectable(self, lost: int, gained: int) -> dict[str, float | None]:
        """What the row's test sees 4 times in 5; of items in groups that is not known.

        None where it sees nothing as surely, because of so many flips.

        Raises:
            MeasurementError: so few items that it could see nothing, flips or not.
        """
        if self.groups is not None:
            return {}
        n = len(self.artifact)
        # what flips without damage flips both ways
        flips = 2 * min(lost, gained)
        if flips == 0:
            return {"detectable_drop": stats.detectable_drop(n, flips, alpha=_ALPHA)}
        stats.detectable_drop(n, 0, alpha=_ALPHA)
        return {"detectable_drop": detectable_drop(n, flips, _ALPHA)}

    def _worst(self) -> list[int]:
        numbers = np.flatnonzero(self.is_lost)
        if self.margins_nats is not None:
            numbers = numbers[np.argsort(-self.margins_nats[numbers], kind="stable")]
        return [int(number) for number in numbers]


def detectable_drop(n: int, flips: int, error: float) -> float | None:
    """What the exact test of paired answers sees 4 times in 5; None where it sees nothing so."""
    try:
        return stats.detectable_drop(n, flips, alpha=error)
    except MeasurementError:
        return None
