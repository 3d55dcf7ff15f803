"""Task accuracy: reference and artifact answer the same items, and every item is accounted for.

    choices     the choice with the largest log-likelihood after the prompt, summed over its tokens
                (`acc` of lm-evaluation-harness); the first of equals
    generated   the greedy answer, graded by a metric of `qgate.measure.tasks.grading`

A task on which the reference itself is no better than chance can show no damage: that is an error,
unless the thresholds file says how little is enough.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.tasks.graded import Graded, GradedTask, Questions, compare
from qgate.measure.tasks.grading import Grading
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work
from qgate.verdict.vacuous import require_possible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.tasks.items import Item, ItemFile
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.measure.tasks.paired_scores import PairedScores
    from qgate.runtimes.requests import Outcome, TokenizerClient

_ROOM_TOKENS = 8
"""Generated beyond the length of the expected answer, so that one which goes on is seen to."""
_LEAST_SCOUTED = 80
"""Items; a quarter of fewer would hardly tell."""
_LONGEST_TOKENS = {"numeric": 256, "code": 512}
"""Where the number comes at the end of working it out, and where a function is written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(GradedTask):
    """The probe of one row of accuracy."""

    file: ItemFile
    grading: Grading = field(default_factory=Grading)
    max_tokens: int | None = None
    """None: by the length of the expected answer, or 256 where the metric is numeric, 512 for
    code."""

    def work(self, tokenizer: TokenizerClient) -> Work:
        """Token ids of the items.

        Raises:
            MeasurementError: an item is longer than the model's context, or its answer says nothing
                by which another could be graded.
            NotApplicable: the effort asks no item of it.
        """
        items = self.file.items
        if not items:
            raise NotApplicable(
                f"{self.check}: quick effort does not ask it. Run with --qgate-effort=standard, or"
                " write edge: {math_items: 150}"
            )
        prompts = tokenizer.begin([item.prompt for item in items])
        if self.file.has_choices:
            return Work(spans=self._choices(tokenizer, prompts))
        self.grading.require_telling(items)
        expected = tokenizer.follow([item.answer for item in items])
        lengths = [self._answer_tokens(len(answer)) for answer in expected]
        for item, ids, most in zip(items, prompts, lengths, strict=True):
            self._require_room(item, len(ids) + most, tokenizer.context_tokens)
        batch = Batch(
            prompts=tuple(
                Prompt(ids=ids, max_tokens=most, name=f"item {item.id}")
                for item, ids, most in zip(items, prompts, lengths, strict=True)
            )
        )
        return Work(batches=(batch,))

    def _answer_tokens(self, expected: int) -> int:
        if self.max_tokens is not None:
            return self.max_tokens
        if self.grading.is_score:  # a summary may well be longer than the one that was expected
            return 2 * expected + _ROOM_TOKENS
        return _LONGEST_TOKENS.get(self.grading.metric, expected + _ROOM_TOKENS)

    def _choices(
        self, tokenizer: TokenizerClient, prompts: tuple[np.ndarray, ...]
    ) -> tuple[Span, ...]:
        items = self.file.items
        choices = iter(tokenizer.follow([choice for item in items for choice in item.choices]))
        spans = []
        for item, prompt in zip(items, prompts, strict=True):
            for _ in item.choices:
                ids = np.concatenate([prompt, next(choices)])
                self._require_room(item, len(ids), tokenizer.context_tokens)
                spans.append(Span(ids=ids, first=len(prompt) - 1, name=f"item {item.id}"))
        return tuple(spans)

    def _require_room(self, item: Item, tokens: int, context: int) -> None:
        if tokens > context:
            raise MeasurementError(
                f"{self.check}: item {item.id} of {self.file.name} does not fit the context:"
                f" got {tokens} tokens; expected at most {context}"
            )

    @property
    def size(self) -> int:
        """Items that are asked."""
        return len(self.file.items)

    def take(self, numbers: Sequence[int]) -> Task:
        """The same task with these of its items, in this order."""
        return dataclasses.replace(self, file=self.file.take(numbers))

    def scout(self) -> Task | None:
        """A quarter of the items in chance order, by which one that only guesses shows itself."""
        if self.size < _LEAST_SCOUTED or self.grading.is_score:
            return None
        # the same items as the first part of a task that is asked in stages
        order = random.Random(0).sample(range(self.size), self.size)  # noqa: S311 - no secret
        return self.take(order[: round(self.size / 4)])

    def narrowed(self, work: Work, outcome: Outcome) -> Task:
        """The task itself; its items are all or none.

        Raises:
            NotApplicable: the reference's answers to the scout are clearly no better than chance.
        """
        scout = self.scout()
        if scout is not None:
            right = scout.grade(work, outcome).values
            require_possible(self.check, self.file.name, right, scout.chance, self.min_reference)
        return self

    @property
    def chance(self) -> float:
        """The share of right answers that guessing reaches."""
        items = self.file.items
        return float(np.mean([1 / len(item.choices) if item.choices else 0 for item in items]))

    def grade(self, work: Work, outcome: Outcome) -> Graded:
        """What one side's answers are worth."""
        items = self.file.items
        if self.file.has_choices:
            return self._grade_choices(outcome)
        (answers,) = outcome.answers
        values, ran = self.grading.grade(answers.texts, items)
        return Graded(
            values=values,
            texts=answers.texts,
            margins_nats=np.zeros(len(items)),
            is_empty=np.array([not text.strip() for text in answers.texts]),
            answer_tokens=np.array([len(ids) for ids in answers.ids]),
            stopped_by=tuple(one.why if one.is_stopped else "" for one in ran),
            in_one_process=sum(bool(one.in_one_process) for one in ran) if ran else None,
        )

    def compare(self, artifact: Graded, reference: Graded) -> PairedAnswers | PairedScores:
        items = self.file.items
        is_score = not self.file.has_choices and self.grading.is_score
        metric = {"metric": self.grading.name} if is_score else {}
        if self.grading.scorer is not None:  # it may say right or wrong as well
            is_score = not (artifact.is_binary and reference.is_binary)
        asked = Questions(
            check=self.check,
            task=self.file.name,
            names=[f"item {item.id}" for item in items],
            prompts=tuple(item.prompt for item in items),
            expected=tuple(item.answer for item in items),
            groups=self.file.groups,
            chance=self.chance,
            min_reference=self.min_reference,
            more={"items": self.file.digest, "file": self.file.name, **metric},
        )
        return compare(asked, artifact, reference, is_score=is_score)

    def _grade_choices(self, outcome: Outcome) -> Graded:
        items = self.file.items
        totals = iter([-float(nll.sum()) for nll in outcome.nll_nats])
        chosen, margins = [], []
        for item in items:
            scores = [next(totals) for _ in item.choices]
            chosen.append(item.choices[int(np.argmax(scores))])
            margins.append(max(scores) - scores[item.choices.index(item.answer)])
        right = [choice == item.answer for choice, item in zip(chosen, items, strict=True)]
        return Graded(
            values=np.array(right),
            texts=tuple(chosen),
            margins_nats=np.array(margins),
            is_empty=np.zeros(len(items), dtype=bool),
            answer_tokens=np.zeros(0, dtype=int),
        )
