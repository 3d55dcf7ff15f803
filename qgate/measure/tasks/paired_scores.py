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
from qgate.measure.tasks.paired_items import PairedItems

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedScores(PairedItems):
    """One row's scores for every item; the report shows those that fell most."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return stats.paired_scores(self.artifact, self.reference, self.labels, level=level)

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        lost = dataclasses.replace(self, artifact=np.zeros_like(self.reference))
        # to lose less, and of all items alike, may show more
        return dataclasses.replace(lost.estimate(check, level, parameters), p_value=None)

    def details(self, check: str) -> dict[str, Any]:
        delta = self.artifact - self.reference
        worst = [int(number) for number in np.argsort(delta, kind="stable") if delta[number] < 0]
        return {
            **self.shares(int((delta < 0).sum()), int((delta > 0).sum())),
            "worst": self.both_answers(worst),
            **self.told(),
        }
