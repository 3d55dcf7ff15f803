"""Scores of both sides' answers, item by item: how near a summary or a translation comes.

    value = mean score(artifact) - mean score(reference), paired by item

with a t interval over items, over groups of items where several are about the same (Miller 2024,
arXiv:2411.00640, section 4). Leaderboards compare two corpus scores without an interval.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats
from qgate.measure.tasks.worst_samples import side_by_side

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedScores:
    """One row's scores for every item, and what is shown of those that fell most."""

    artifact: np.ndarray
    """Shape (n,), float, more is better."""
    reference: np.ndarray
    """The same items, in the same order."""
    prompts: tuple[str, ...]
    artifact_texts: tuple[str, ...]
    reference_texts: tuple[str, ...]
    expected: tuple[str, ...] = ()
    groups: tuple[str, ...] | None = None
    """What each item is about; None: all about something of their own."""
    min_reference: float | None = None
    """The least share or score of the reference that the user set; None: not set."""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What the report tells beside: JSON values."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return stats.paired_scores(
            self.artifact,
            self.reference,
            None if self.groups is None else np.array(self.groups),
            level=level,
        )

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        lost = dataclasses.replace(self, artifact=np.zeros_like(self.reference))
        # to lose less, and of all items alike, may show more
        return dataclasses.replace(lost.estimate(check, level, parameters), p_value=None)

    def details(self, check: str) -> dict[str, Any]:
        delta = self.artifact - self.reference
        worst = [int(number) for number in np.argsort(delta, kind="stable") if delta[number] < 0]
        return {
            "share": float(self.artifact.mean()),
            "reference_share": float(self.reference.mean()),
            "lost": int((delta < 0).sum()),
            "gained": int((delta > 0).sum()),
            "worst": side_by_side(
                worst, self.prompts, self.reference_texts, self.artifact_texts, self.expected
            ),
            **({} if self.min_reference is None else {"min_reference": self.min_reference}),
            **self.more,
        }
