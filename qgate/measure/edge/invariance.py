"""`edge.batch_invariance`: does an answer change because others are answered beside it?

The same prompts are answered one at a time and side by side; the row is the share of answers that
change by more than rounding, less the reference's share on the same prompts.

Kernels differ with the number of tokens in a call, integer kernels most, so that near ties fall the
other way in sound models too: of 96 answers of 24 tokens, 4 to 5 % in a small Llama quantized to 8
to 2 bits, up to 19 % in stories260K. There the two tokens were never more than 0.23 nats apart,
both ways together. What a batch does to an answer by mistake (a neighbour's cache or mask, a lost
token) does not stop at near ties.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.free_running import PromptProbe
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.base import Prompt
from qgate.runtimes.messages import NO_END, Batch
from qgate.runtimes.requests import Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.messages import Answers
    from qgate.runtimes.requests import Outcome, Pair, TokenizerClient

_ANSWER_TOKENS = 8
_PROMPTS = 48
"""Of those that there are: one alone takes as long as eight beside each other, and what a batch
does to an answer by mistake shows in many of them."""
_BATCH_SIZE = 8
_ROUNDING_NATS = 0.5
"""An answer has changed where its first different token and the one in its place swapped a lead of
more than so much, added up over both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInvariance(PromptProbe):
    """The probe of `edge.batch_invariance`."""

    checks: ClassVar[tuple[str, ...]] = ("edge.batch_invariance",)

    @classmethod
    def of(cls, prompts: Sequence[str]) -> BatchInvariance:
        """The probe with as many of the prompts as it asks, from all over them."""
        step = max(1, len(prompts) / _PROMPTS)
        count = min(_PROMPTS, len(prompts))
        return cls(prompts=tuple(prompts[int(step * number)] for number in range(count)))

    def work(self, tokenizer: TokenizerClient) -> Work:
        if not self.prompts:
            raise NotApplicable(
                "edge.batch_invariance: quick effort does not ask it. Run with"
                " --qgate-effort=standard, or write edge: {batch_prompts: 32}"
            )
        room = tokenizer.context_tokens - _ANSWER_TOKENS
        if room < 1:
            raise MeasurementError(
                f"edge.batch_invariance: got a context of {tokenizer.context_tokens} tokens;"
                f" expected more than {_ANSWER_TOKENS}"
            )
        prompts = tuple(
            Prompt(ids=ids[:room], max_tokens=_ANSWER_TOKENS)
            for ids in tokenizer.begin(self.prompts)
        )
        return Work(
            batches=(
                Batch(prompts=prompts, batch_size=1),
                Batch(prompts=prompts, batch_size=_BATCH_SIZE),
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
            more={"side_by_side": _BATCH_SIZE, "rounding_nats": _ROUNDING_NATS},
        )


def _has_changed(outcome: Outcome) -> np.ndarray:
    alone, together = outcome.answers
    swaps = [
        _swapped_nats(alone, together, number) > _ROUNDING_NATS for number in range(len(alone.ids))
    ]
    return np.array(swaps)


def _swapped_nats(alone: Answers, together: Answers, number: int) -> float:
    """The leads that turned at the first different token; 0 where the answers are the same.

    Infinite where one only breaks off earlier: that is no matter of what was likelier.
    """
    one, other = _tokens(alone, number), _tokens(together, number)
    shorter = min(len(one), len(other))
    differing = np.flatnonzero(one[:shorter] != other[:shorter])
    if not len(differing):
        return 0.0 if len(one) == len(other) else math.inf
    at = int(differing[0])
    return float(alone.margins_nats[number][at] + together.margins_nats[number][at])


def _tokens(answers: Answers, number: int) -> np.ndarray:
    """An answer with the token that ended it; as many as it has margins."""
    end = answers.ends[number : number + 1]
    return np.concatenate([answers.ids[number], end[end != NO_END]])


def _both_ways(outcome: Outcome) -> tuple[str, ...]:
    alone, together = outcome.answers
    pairs = zip(alone.texts, together.texts, strict=True)
    return tuple(f"alone: {one} | beside others: {other}" for one, other in pairs)
