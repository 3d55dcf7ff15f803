"""Answers that run free until they end: do they loop, do they end, how long are they?

Prompts are answered greedily up to a length by both sides, in the reference's own chat frame: the
first of those that the text of perplexity is made of (`thresholds/prompts/conversations.jsonl`),
and some that the demo model knows (`open.jsonl`).

    repetition      share of answers that loop, less the reference's
    termination     share of answers that end with an end token which the file itself declares, less
                    the reference's. A runtime may know a token by its name and stop all the same:
                    other runtimes would not.
    answer_length   mean log ratio of lengths, in whichever direction it is; exp of it. MLPerf
                    (submission checker) bounds generated lengths on both sides for the same reason:
                    quantized models that say less look faster, those that go on cost more.

An answer loops when its end is one piece again and again (the last `_LOOP_TOKENS` tokens have a
period of at most a third of that), or when that end compresses far better than text does (zlib, as
OpenAI's Whisper does it, there at 2.4).
"""

from __future__ import annotations

import dataclasses
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from qgate import stats
from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.reference.conversations import frame
from qgate.runtimes.base import Prompt
from qgate.runtimes.messages import NO_END, Batch
from qgate.runtimes.requests import Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import Artifact, Estimate
    from qgate.runtimes.messages import Answers
    from qgate.runtimes.requests import Outcome, Pair, TokenizerClient

BATCH_SIZE = 32
"""A token costs least so: on a CPU half of what it costs beside 15 others."""
_LOOP_TOKENS = 24
_LONGEST_PERIOD = _LOOP_TOKENS // 3
_COMPRESSIBLE = 4.0
"""Bytes of a text over those of its zlib form; English is near 2, a loop above 5."""
_LEAST_BYTES = 80
"""Shorter texts do not compress, whatever they say."""
_LAST_BYTES = 2048
"""Are looked at: long texts compress better and better, 16 kB of Hindi or Thai prose above 4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptProbe:
    """A probe of which each prompt can be asked alone."""

    prompts: tuple[str, ...]
    """What a user says."""

    @property
    def size(self) -> int:
        """Prompts."""
        return len(self.prompts)

    def take(self, numbers: Sequence[int]) -> Self:
        """The same probe with these of its prompts, in this order."""
        return dataclasses.replace(self, prompts=tuple(self.prompts[number] for number in numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeRunning(PromptProbe):
    """The probe of the three rows."""

    checks: ClassVar[tuple[str, ...]] = (
        "edge.repetition",
        "edge.termination",
        "edge.answer_length",
    )
    is_sequential: ClassVar[bool] = False  # all side by side take hardly longer than some of them
    answer_tokens: int
    reference: Artifact | None = None
    """Whose chat frame the prompts are asked in; None: they are continued as plain text."""

    def work(self, tokenizer: TokenizerClient) -> Work:
        prompts = []
        for ids in tokenizer.begin(frame(self.prompts, self.reference).firsts):
            room = min(self.answer_tokens, tokenizer.context_tokens - len(ids))
            if room < _LOOP_TOKENS:
                raise MeasurementError(
                    f"edge: a prompt of {len(ids)} tokens leaves no room for an answer: got a"
                    f" context of {tokenizer.context_tokens}; expected {_LOOP_TOKENS} tokens more"
                )
            prompts.append(Prompt(ids=ids, max_tokens=room))
        return Work(batches=(Batch(prompts=tuple(prompts), batch_size=BATCH_SIZE),))

    def read(self, pair: Pair) -> FreeAnswers:
        return FreeAnswers(prompts=self.prompts, pair=pair)

    def require_reference(self, check: str, work: Work, outcome: Outcome) -> None:
        """Refuse a row in which the reference has nothing to lose.

        Raises:
            NotApplicable: every answer of it loops, or none ends.
        """
        count = len(outcome.answers[0].ids)
        if check == "edge.repetition" and _has_looped(outcome).all():
            raise NotApplicable(
                f"{check}: the reference itself always loops: got {count} of {count} answers that"
                " do; expected fewer. Nothing could be lost"
            )
        if check == "edge.termination" and not _has_ended(outcome).any():
            raise NotApplicable(
                f"{check}: the reference itself never ends: got 0 of {count} answers"
                " that end with its end token; expected some. Nothing could be lost"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeAnswers:
    """Both sides' free-running answers."""

    prompts: tuple[str, ...]
    pair: Pair

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        if check == "edge.answer_length":
            return stats.ratio_either_way(self._log_ratios(), level=level)
        return self._flags(check).estimate(check, level, parameters)

    @property
    def min_reference(self) -> None:
        return None

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate | None:
        if check == "edge.answer_length":
            return None
        return self._flags(check).worst(check, level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        artifact, reference = self._answers()
        lengths = {
            "mean_tokens": float(np.mean([len(ids) for ids in artifact.ids])),
            "reference_mean_tokens": float(np.mean([len(ids) for ids in reference.ids])),
        }
        if check == "edge.answer_length":
            return lengths
        return {**self._flags(check).details(check), **lengths}

    def _answers(self) -> tuple[Answers, Answers]:
        return self.pair.artifact.answers[0], self.pair.reference.answers[0]

    def _flags(self, check: str) -> PairedAnswers:
        artifact, reference = self._answers()
        ends = check == "edge.termination"
        flags = _has_ended if ends else _has_looped
        return PairedAnswers(
            artifact=flags(self.pair.artifact),
            reference=flags(self.pair.reference),
            is_good=ends,
            prompts=self.prompts,
            artifact_texts=artifact.texts,
            reference_texts=reference.texts,
        )

    def _log_ratios(self) -> np.ndarray:
        """One token more on both sides: an answer may be empty."""
        artifact, reference = self._answers()
        return np.log([len(ids) + 1 for ids in artifact.ids]) - np.log(
            [len(ids) + 1 for ids in reference.ids]
        )


def _has_ended(outcome: Outcome) -> np.ndarray:
    ends = outcome.answers[0].ends
    flags: np.ndarray = (ends != NO_END) & np.isin(ends, outcome.end_tokens)
    return flags


def _has_looped(outcome: Outcome) -> np.ndarray:
    answers = outcome.answers[0]
    pairs = zip(answers.ids, answers.texts, strict=True)
    return np.array([is_loop(ids) or compresses(text) for ids, text in pairs])


def is_loop(ids: np.ndarray) -> bool:
    """Whether the last tokens repeat with a short period."""
    tail = ids[-_LOOP_TOKENS:]
    return len(tail) == _LOOP_TOKENS and any(
        bool((tail[period:] == tail[:-period]).all()) for period in range(1, _LONGEST_PERIOD + 1)
    )


def compresses(text: str) -> bool:
    """Whether zlib makes far less of the end of a text than it does of prose."""
    raw = text.encode()[-_LAST_BYTES:]
    return len(raw) >= _LEAST_BYTES and len(raw) / len(zlib.compress(raw, 9)) > _COMPRESSIBLE
