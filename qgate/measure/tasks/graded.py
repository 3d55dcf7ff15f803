"""What one side's answers are worth, item by item, and both sides compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.measure.tasks.anomalies import odd_answers
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.paired_scores import PairedScores
from qgate.verdict.vacuous import require_above_chance, require_nonzero_score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.runtimes.requests import Outcome, Pair, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """The grades of one side."""

    values: np.ndarray
    """Shape (n,): right or wrong as bool or 0 and 1, or a score between."""
    texts: tuple[str, ...]
    """What was said."""
    margins_nats: np.ndarray
    """By how much a wrong choice was preferred, shape (n,); zeros where nothing is chosen."""
    is_empty: np.ndarray
    """Items of which the generated answer says nothing, shape (n,), bool."""
    answer_tokens: np.ndarray
    """Of each generated answer; of no items where nothing is generated."""
    stopped_by: tuple[str, ...] = ()
    """Why the sandbox stopped each item's program, empty where it did not; () where none is run."""
    in_one_process: int | None = None
    """Programs that had their tests in their own process; None where none is run."""
    truncated: int = 0
    """Requests of which the beginning did not fit the context."""

    @property
    def is_binary(self) -> bool:
        """Whether every item is right or wrong."""
        return bool(np.isin(self.values, (0, 1)).all())

    @classmethod
    def joined(cls, parts: Sequence[Graded]) -> Graded:
        """The grades of items that were asked in parts, one part after the other."""
        return cls(
            values=np.concatenate([part.values for part in parts]),
            texts=tuple(text for part in parts for text in part.texts),
            margins_nats=np.concatenate([part.margins_nats for part in parts]),
            is_empty=np.concatenate([part.is_empty for part in parts]),
            answer_tokens=np.concatenate([part.answer_tokens for part in parts]),
            stopped_by=tuple(why for part in parts for why in part.stopped_by),
            in_one_process=_sum([part.in_one_process for part in parts]),
            truncated=sum(part.truncated for part in parts),
        )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """What comparing needs of a task whose items were graded on both sides."""

    check: str
    task: str
    """What messages call it."""
    names: Sequence[str]
    """What messages call each item."""
    prompts: tuple[str, ...]
    expected: tuple[str, ...]
    groups: tuple[str, ...] | None
    chance: float
    """The share of right answers that guessing reaches."""
    min_reference: float | None
    """Least share of right answers of the reference; None: so much above chance."""
    more: Mapping[str, Any]
    """What the report tells beside: JSON values."""


def compare(
    asked: Questions, artifact: Graded, reference: Graded, *, is_score: bool
) -> PairedAnswers | PairedScores:
    """Both sides' grades as the samples of the row.

    Raises:
        NotApplicable: the reference is hardly better than chance.
    """
    least = asked.min_reference
    shown: dict[str, Any] = {
        "prompts": asked.prompts,
        "artifact_texts": artifact.texts,
        "reference_texts": reference.texts,
        "expected": asked.expected,
        "groups": asked.groups,
        "min_reference": least,
        "more": {**odd_answers(asked.names, artifact, reference), **asked.more},
    }
    if is_score:
        require_nonzero_score(asked.check, asked.task, reference.values, least)
        return PairedScores(artifact=artifact.values, reference=reference.values, **shown)
    right = float(reference.values.mean())
    require_above_chance(asked.check, asked.task, right, asked.chance, least)
    return PairedAnswers(
        artifact=artifact.values == 1,
        reference=reference.values == 1,
        is_good=True,
        margins_nats=artifact.margins_nats,
        **shown,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedTask:
    """A probe of one row of accuracy: each side's answers are graded, then compared."""

    check: str
    min_reference: float | None = None
    """Least share of right answers of the reference; None: so much above chance."""
    is_sequential: bool = True
    """Whether it is asked in parts, until its limit is decided."""

    @property
    def checks(self) -> tuple[str, ...]:
        return (self.check,)

    def read(self, pair: Pair) -> PairedAnswers | PairedScores:
        """What each side's answers are worth, compared: right or wrong, or a score between.

        Raises:
            MeasurementError: a lost answer, or one that cannot be graded.
            NotApplicable: the reference is hardly better than chance.
        """
        artifact, reference = pair.artifact, pair.reference
        return self.compare(self.grade(pair.work, artifact), self.grade(pair.work, reference))

    def grade(self, work: Work, outcome: Outcome) -> Graded:
        """What one side's answers are worth; more is better."""
        raise NotImplementedError

    def compare(self, artifact: Graded, reference: Graded) -> PairedAnswers | PairedScores:
        """Both sides' grades as the samples of the row; raises as `read`."""
        raise NotImplementedError
