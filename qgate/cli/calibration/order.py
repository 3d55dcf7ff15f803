"""The same work in another order, and its answers put back: what a second run is asked.

Prompts are answered last to first and fewer side by side, sequences are scored last to first, so
that each shares its call with others than in the first run. Nothing that is asked changes; where a
runtime's sums depend on who is beside whom, its answers do.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qgate.runtimes.requests import Outcome, Work

if TYPE_CHECKING:
    from qgate.runtimes.messages import Answers, Batch


def in_another_order(work: Work) -> Work:
    """The same sequences and prompts; the answers are for `back_in_order`, not for a probe.

    Marks stay behind: they count the spans in their first order.
    """
    return Work(spans=work.spans[::-1], batches=tuple(_turned(batch) for batch in work.batches))


def _turned(batch: Batch) -> Batch:
    side_by_side = max(1, batch.side_by_side // 2)
    return dataclasses.replace(batch, prompts=batch.prompts[::-1], side_by_side=side_by_side)


def back_in_order(outcome: Outcome) -> Outcome:
    """What was answered to `in_another_order(work)`, as answers to the work itself."""
    return Outcome(
        nll_nats=outcome.nll_nats[::-1],
        is_top=outcome.is_top[::-1],
        answers=tuple(_turned_back(answers) for answers in outcome.answers),
        end_tokens=outcome.end_tokens,
    )


def _turned_back(answers: Answers) -> Answers:
    return dataclasses.replace(
        answers,
        ids=answers.ids[::-1],
        ends=answers.ends[::-1],
        texts=answers.texts[::-1],
        margins_nats=answers.margins_nats[::-1],
    )
