"""Task accuracy: original and artifact answer the same items, and every item is accounted for.

    choices     the choice with the largest log-likelihood after the prompt, summed over its tokens
                (`acc` of lm-evaluation-harness); the first of equals
    generated   the greedy answer, compared by a metric of `qgate.measure.answers`

A task on which the original itself is no better than chance can show no damage: that is an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.answers import METRICS
from qgate.measure.paired_answers import PairedAnswers
from qgate.measure.work import Batch, Work
from qgate.runtimes.base import Prompt, Span

if TYPE_CHECKING:
    from qgate.measure.items import Item, ItemFile
    from qgate.measure.work import Outcome, Pair, Speaker

LEAST_ABOVE_CHANCE = 0.1
"""So much more often than by chance the original has to be right."""
_ROOM_TOKENS = 8
"""Generated beyond the length of the expected answer, so that one which goes on is seen to."""
_NUMERIC_TOKENS = 256
"""Where the number comes at the end of working it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The probe of one row of accuracy."""

    check: str
    file: ItemFile
    metric: str = "exact"
    max_tokens: int | None = None
    """None: by the length of the expected answer, or 256 where the metric is numeric."""
    is_shipped: bool = False
    """Whether it is asked of every model, and not because a user named it."""

    @property
    def checks(self) -> tuple[str, ...]:
        return (self.check,)

    def work(self, speaker: Speaker) -> Work:
        """Token ids of the items.

        Raises:
            MeasurementError: an item is longer than the model's context.
        """
        items = self.file.items
        prompts = speaker.begin([item.prompt for item in items])
        if self.file.has_choices:
            return Work(spans=self._choices(speaker, prompts))
        expected = speaker.follow([item.answer for item in items])
        lengths = [self._answer_tokens(len(answer)) for answer in expected]
        for item, ids, most in zip(items, prompts, lengths, strict=True):
            self._require_room(item, len(ids) + most, speaker.context_tokens)
        batch = Batch(
            prompts=tuple(
                Prompt(ids=ids, max_tokens=most) for ids, most in zip(prompts, lengths, strict=True)
            )
        )
        return Work(batches=(batch,))

    def _answer_tokens(self, expected: int) -> int:
        if self.max_tokens is not None:
            return self.max_tokens
        return _NUMERIC_TOKENS if self.metric == "numeric" else expected + _ROOM_TOKENS

    def _choices(self, speaker: Speaker, prompts: tuple[np.ndarray, ...]) -> tuple[Span, ...]:
        items = self.file.items
        choices = iter(speaker.follow([choice for item in items for choice in item.choices]))
        spans = []
        for item, prompt in zip(items, prompts, strict=True):
            for _ in item.choices:
                ids = np.concatenate([prompt, next(choices)])
                self._require_room(item, len(ids), speaker.context_tokens)
                spans.append(Span(ids=ids, first=len(prompt) - 1))
        return tuple(spans)

    def _require_room(self, item: Item, tokens: int, context: int) -> None:
        if tokens > context:
            raise MeasurementError(
                f"{self.check}: item {item.id} of {self.file.name} does not fit the context:"
                f" got {tokens} tokens; expected at most {context}"
            )

    def read(self, pair: Pair) -> PairedAnswers:
        """Which items each side got right.

        Raises:
            MeasurementError: the original is hardly better than chance.
            NotApplicable where the task is a shipped one.
        """
        reference, reference_texts, _ = self._decide(pair.reference)
        artifact, artifact_texts, margins = self._decide(pair.artifact)
        chance = np.mean([1 / len(item.choices) if item.choices else 0 for item in self.file.items])
        if reference.mean() < chance + LEAST_ABOVE_CHANCE:
            kind = NotApplicable if self.is_shipped else MeasurementError
            raise kind(
                f"{self.check}: the original itself does not know {self.file.name}: got"
                f" {reference.mean():.0%} right; expected at least"
                f" {chance + LEAST_ABOVE_CHANCE:.0%}. Name tasks that the model is used for, and"
                " switch this one off"
            )
        return PairedAnswers(
            artifact=artifact,
            reference=reference,
            is_good=True,
            prompts=tuple(item.prompt for item in self.file.items),
            artifact_texts=artifact_texts,
            reference_texts=reference_texts,
            expected=tuple(item.answer for item in self.file.items),
            severity=margins,
            more={"items": self.file.digest, "file": self.file.name},
        )

    def _decide(self, outcome: Outcome) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
        """Right or wrong, what was said, and by how many nats a wrong choice was preferred."""
        items = self.file.items
        if not self.file.has_choices:
            texts = outcome.answers[0].texts
            is_right = METRICS[self.metric]
            right = [is_right(text, item.answer) for text, item in zip(texts, items, strict=True)]
            return np.array(right), texts, np.zeros(len(items))
        totals = iter([-float(nll.sum()) for nll in outcome.nll_nats])
        chosen, margins = [], []
        for item in items:
            scores = [next(totals) for _ in item.choices]
            chosen.append(item.choices[int(np.argmax(scores))])
            margins.append(max(scores) - scores[item.choices.index(item.answer)])
        right = [choice == item.answer for choice, item in zip(chosen, items, strict=True)]
        return np.array(right), tuple(chosen), np.array(margins)
