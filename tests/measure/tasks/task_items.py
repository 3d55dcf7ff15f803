"""Items of two kinds for tests of tasks, and sides that answer them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from qgate.measure.tasks.items import ItemFile
from tests.support.outcomes import make_outcome, pair

if TYPE_CHECKING:
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.measure.tasks.task import Task
    from qgate.runtimes.requests import Outcome, TokenizerClient

Write = Callable[[Sequence[dict[str, Any]]], ItemFile]
Speak = Callable[[int], "TokenizerClient"]


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(count)]


def choices(count: int, answer: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Question {number}?",
            "choices": [" yes", " no", " neither one", " nobody knows it"],
            "answer": answer,
        }
        for number in range(count)
    ]


FOUR = 4
"""Choices of each item."""


def chosen(file: ItemFile, *preferred: int, by: float = 1.0) -> Outcome:
    """One side that prefers the given choice of each item, by so many nats."""
    nll = []
    for place in preferred:
        totals = [20.0] * FOUR
        totals[place] -= by
        nll += [[total / 2, total / 2] for total in totals]
    assert len(nll) == FOUR * len(file.items)
    return make_outcome(nll=nll)


def read(task: Task, artifact: Outcome, reference: Outcome) -> PairedAnswers:
    return task.read(pair(artifact, reference))
