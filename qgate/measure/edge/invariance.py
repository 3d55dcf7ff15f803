"""`edge.batch_invariance`: does an answer change because others are answered beside it?

The same prompts are answered one at a time and side by side. Kernels differ with the number of
tokens in a call, so that some answers of a sound model change too: the row is the share that
changes, less the original's share on the same prompts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.paired_answers import PairedAnswers
from qgate.measure.work import Batch, Work
from qgate.runtimes.base import Prompt

if TYPE_CHECKING:
    from qgate.measure.work import Outcome, Pair, Speaker

_ANSWER_TOKENS = 24
_SIDE_BY_SIDE = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInvariance:
    """The probe of `edge.batch_invariance`."""

    checks: ClassVar[tuple[str, ...]] = ("edge.batch_invariance",)
    prompts: tuple[str, ...]

    def work(self, speaker: Speaker) -> Work:
        room = speaker.context_tokens - _ANSWER_TOKENS
        if room < 1:
            raise MeasurementError(
                f"edge.batch_invariance: got a context of {speaker.context_tokens} tokens;"
                f" expected more than {_ANSWER_TOKENS}"
            )
        prompts = tuple(
            Prompt(ids=ids[:room], max_tokens=_ANSWER_TOKENS) for ids in speaker.begin(self.prompts)
        )
        return Work(
            batches=(
                Batch(prompts=prompts, side_by_side=1),
                Batch(prompts=prompts, side_by_side=_SIDE_BY_SIDE),
            )
        )

    def read(self, pair: Pair) -> PairedAnswers:
        return PairedAnswers(
            artifact=_has_changed(pair.artifact),
            reference=_has_changed(pair.reference),
            is_good=False,
            prompts=self.prompts,
            artifact_texts=_both_ways(pair.artifact),
            reference_texts=_both_ways(pair.reference),
            more={"side_by_side": _SIDE_BY_SIDE},
        )


def _has_changed(outcome: Outcome) -> np.ndarray:
    alone, together = outcome.answers
    pairs = zip(alone.ids, together.ids, strict=True)
    same = [np.array_equal(one, other) for one, other in pairs]
    changed: np.ndarray = ~(np.array(same) & (alone.ends == together.ends))
    return changed


def _both_ways(outcome: Outcome) -> tuple[str, ...]:
    alone, together = outcome.answers
    pairs = zip(alone.texts, together.texts, strict=True)
    return tuple(f"alone: {one} | beside others: {other}" for one, other in pairs)
