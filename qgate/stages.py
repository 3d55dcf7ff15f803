"""Asks a task in stages, and stops at the first look that decides its limit.

The items come in random order, always the same, in as many parts as the plan of
`qgate.stats.sequential` has looks; both sides answer a part before it is looked at. Only what has
a certified limit is asked so: the p-value that an alarm goes by counts one look at all items.
That the original knows the task is required of the items that were asked.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from qgate import stats
from qgate.errors import MeasurementError
from qgate.measure.graded import Graded
from qgate.measure.paired_answers import PairedAnswers
from qgate.records import Verdict
from qgate.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qgate.measure.measurement import Measurement
    from qgate.measure.work import Outcome, Pair, Speaker, Work
    from qgate.records import Estimate, Limit
    from qgate.stats import Plan

_SEED = 0


class Staged(Protocol):
    """A task of which a part can be asked."""

    @property
    def checks(self) -> tuple[str, ...]:
        """Its row."""

    @property
    def is_sequential(self) -> bool:
        """Whether it may be."""

    @property
    def size(self) -> int:
        """Items."""

    def take(self, numbers: Sequence[int]) -> Staged:
        """The same task with these of its items, in this order."""

    def work(self, speaker: Speaker) -> Work:
        """What is asked."""

    def grade(self, work: Work, outcome: Outcome) -> Graded:
        """What one side's answers are worth."""

    def compare(self, artifact: Graded, reference: Graded) -> Measurement:
        """Both sides' grades as the samples of the row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Answers up to a look, with the interval that holds although there were looks before."""

    answers: PairedAnswers
    plan: Plan
    look: int
    """From 1."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        answers = self.answers
        return stats.interval_at_look(answers.artifact, answers.reference, self.plan, self.look)

    def worst(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        lost = replace(self, answers=self.answers.at_worst())
        return lost.estimate(check, level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        looks = {"look": self.look, "looks": len(self.plan.looks), "of_items": self.plan.looks[-1]}
        return {**self.answers.details(check), "sequential": looks}


def is_staged(task: object, limit: Limit) -> bool:
    """Whether this task is asked in stages under this limit."""
    return bool(getattr(task, "is_sequential", False)) and limit.rule == "certify"


def ask_in_stages(task: Staged, limit: Limit, ask: Callable[[Staged, str], Pair]) -> Looked:
    """Ask until the limit is decided, or nothing is left to ask.

    Args:
        task: of right or wrong answers.
        limit: certified.
        ask: ask(part, label) has both sides answer a part of the task; a label is always of the
            same items.

    Raises:
        QGateError: whatever kept a side from answering.
    """
    plan = stats.plan_looks(task.size, limit.level)
    order = random.Random(_SEED).sample(range(task.size), task.size)  # noqa: S311 - no secret
    artifact: list[Graded] = []
    reference: list[Graded] = []
    begin = 0
    for look, end in enumerate(plan.looks, 1):
        part = task.take(order[begin:end])
        pair = ask(part, f"part {look} of {len(plan.looks)}")
        artifact.append(part.grade(pair.work, pair.artifact))
        reference.append(part.grade(pair.work, pair.reference))
        sides = Graded.joined(artifact), Graded.joined(reference)
        if not all(side.is_binary for side in sides):
            raise _got_scores(task)
        if end == task.size or _is_decided(sides, plan, look, limit):
            answers = task.take(order[:end]).compare(*sides)
            if not isinstance(answers, PairedAnswers):
                raise _got_scores(task)
            return Looked(answers=answers, plan=plan, look=look)
        begin = end
    raise AssertionError("a plan ends with the last item")


def _is_decided(sides: tuple[Graded, Graded], plan: Plan, look: int, limit: Limit) -> bool:
    artifact, reference = sides
    estimate = stats.interval_at_look(artifact.values, reference.values, plan, look)
    return judge(estimate, limit) is not Verdict.INCONCLUSIVE


def _got_scores(task: Staged) -> MeasurementError:
    return MeasurementError(
        f"{task.checks[0]}: sequential: got scores; expected answers that are right or wrong."
        " Leave sequential out"
    )
