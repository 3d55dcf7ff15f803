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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate

_ALPHA = 0.025
"""Of the test that an alarm at the usual level goes by."""
_MOST_SHOWN = 5
_LONGEST_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedAnswers:
    """One row's flags for every prompt, and what is shown of those on which the sides differ."""

    artifact: np.ndarray
    """Shape (n,), bool."""
    reference: np.ndarray
    """The same prompts, in the same order."""
    is_good: bool
    """Whether a set flag is good: a right answer is, a loop is not."""
    prompts: tuple[str, ...]
    artifact_texts: tuple[str, ...]
    reference_texts: tuple[str, ...]
    expected: tuple[str, ...] = ()
    """The right answers, where there are such."""
    severity: np.ndarray | None = None
    """Which flips are worst, shape (n,); None: those that come first."""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the report tells beside: JSON values."""

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
        found = stats.paired_difference(self.artifact, self.reference, level=level)
        lost, gained = int(self.is_lost.sum()), int(self.is_gained.sum())
        return dataclasses.replace(found, p_value=stats.mcnemar_exact(lost, gained))

    def details(self, check: str) -> dict[str, Any]:
        lost, gained = int(self.is_lost.sum()), int(self.is_gained.sum())
        n = len(self.artifact)
        return {
            "share": float(self.artifact.mean()),
            "reference_share": float(self.reference.mean()),
            "lost": lost,
            "gained": gained,
            # what flips without damage flips both ways
            "detectable_drop": stats.detectable_drop(n, 2 * min(lost, gained), alpha=_ALPHA),
            "worst": [self._shown(number) for number in self._worst()],
            **self.more,
        }

    def _worst(self) -> list[int]:
        numbers = np.flatnonzero(self.is_lost)
        if self.severity is not None:
            numbers = numbers[np.argsort(-self.severity[numbers], kind="stable")]
        return [int(number) for number in numbers[:_MOST_SHOWN]]

    def _shown(self, number: int) -> dict[str, str]:
        shown = {
            "prompt": self.prompts[number][-_LONGEST_SHOWN:],
            "reference": self.reference_texts[number][:_LONGEST_SHOWN],
            "artifact": self.artifact_texts[number][:_LONGEST_SHOWN],
        }
        if self.expected:
            shown["expected"] = self.expected[number][:_LONGEST_SHOWN]
        return shown
