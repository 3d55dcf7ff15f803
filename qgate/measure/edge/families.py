"""Rows that judge several texts together: perplexity over the reference's for each of them.

    ratio = exp(mean (nll_artifact - nll_reference))      paired by token, clustered by document

One row, one verdict: the intervals of all members hold simultaneously (`stats.simultaneous`), so
that looking at eight languages does not make a false alarm eight times as likely.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate import stats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.measure.measurement import Estimates
    from qgate.records import Estimate
    from qgate.runtimes.requests import Pair, ScoredRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The scored tokens of one member, from several documents."""

    artifact_nll: np.ndarray
    """Shape (n,), nats."""
    reference_nll: np.ndarray
    """The same tokens under the reference."""
    documents: np.ndarray
    """Which document each token is from."""
    share_of_log: float = 1.0
    """How much of the logarithm of the ratio counts."""

    @classmethod
    def of(cls, pair: Pair, ranges: Sequence[ScoredRange]) -> Tokens:
        """The tokens that are marked; those of one span or cluster are one document."""
        return cls(
            artifact_nll=np.concatenate(
                [_part(pair.artifact.nll_nats, pair, scored) for scored in ranges]
            ),
            reference_nll=np.concatenate(
                [_part(pair.reference.nll_nats, pair, scored) for scored in ranges]
            ),
            documents=np.repeat(
                [scored.span if scored.cluster is None else scored.cluster for scored in ranges],
                [scored.stop - scored.start for scored in ranges],
            ),
        )

    def ratio(self, level: float) -> Estimate:
        found = stats.perplexity_ratio(
            self.artifact_nll, self.reference_nll, self.documents, level=level
        )
        if self.share_of_log == 1.0:
            return found
        value, low, high = (x**self.share_of_log for x in (found.value, found.low, found.high))
        return dataclasses.replace(found, value=value, low=low, high=high)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityFamily:
    """Several members of one row."""

    members: Mapping[str, Tokens]
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the report tells beside: JSON values."""

    @classmethod
    def read(cls, pair: Pair) -> PerplexityFamily:
        """One member for each name that the work's ranges have."""
        ranges: dict[str, list[ScoredRange]] = {}
        for scored in pair.work.ranges:
            ranges.setdefault(scored.member, []).append(scored)
        return cls(members={name: Tokens.of(pair, own) for name, own in ranges.items()})

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimates:
        each = {name: partial(Tokens.ratio, tokens) for name, tokens in self.members.items()}
        return stats.simultaneous(each, level=level)

    def details(self, check: str) -> dict[str, Any]:
        perplexities = {
            name: {
                "perplexity": float(np.exp(tokens.artifact_nll.mean())),
                "reference_perplexity": float(np.exp(tokens.reference_nll.mean())),
                "n": len(tokens.artifact_nll),
            }
            for name, tokens in self.members.items()
        }
        return {"perplexities": perplexities, **self.more}


def _part(values: Sequence[np.ndarray], pair: Pair, scored: ScoredRange) -> np.ndarray:
    """What was found at the marked positions; the first value is that of position first + 1."""
    begin = pair.work.spans[scored.span].first + 1
    return values[scored.span][scored.start - begin : scored.stop - begin]
