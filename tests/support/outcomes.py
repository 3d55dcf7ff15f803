"""Answers written down by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.messages import NO_END, Answers
from qgate.runtimes.requests import Outcome, Pair, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

END = 2


def make_answers(
    *texts: str,
    ids: Sequence[Sequence[int]] | None = None,
    ends: Sequence[int] | None = None,
    margin_nats: float = 9.0,
) -> Answers:
    """Answers of these texts; their bytes are the ids, and each ends with `END`, unless told.

    Every token is more likely than the next best by the same margin.
    """
    given = [list(text.encode()) for text in texts] if ids is None else ids
    said = texts or tuple(bytes(one).decode("utf-8", "replace") for one in given)
    ended = [END] * len(given) if ends is None else ends
    chosen = [len(one) + (end != NO_END) for one, end in zip(given, ended, strict=True)]
    return Answers(
        ids=tuple(np.array(one, dtype=np.int32) for one in given),
        ends=np.array(ended, dtype=np.int32),
        texts=tuple(said),
        margins_nats=tuple(np.full(count, margin_nats, dtype=np.float32) for count in chosen),
    )


def make_outcome(
    *answers: Answers,
    nll: Sequence[Sequence[float]] = (),
    tops: Sequence[Sequence[bool]] | None = None,
    end_tokens: tuple[int, ...] = (END,),
) -> Outcome:
    found = [[False] * len(one) for one in nll] if tops is None else tops
    return Outcome(
        nll_nats=tuple(np.array(one, dtype=np.float64) for one in nll),
        is_top=tuple(np.array(one, dtype=bool) for one in found),
        answers=answers,
        end_tokens=end_tokens,
    )


def written(outcome: Outcome) -> list[Any]:
    """Everything in it, comparable."""
    return [
        [one.tobytes() for one in (*outcome.nll_nats, *outcome.is_top)],
        [
            (
                [one.tobytes() for one in (*answers.ids, *answers.margins_nats)],
                answers.ends.tolist(),
                answers.texts,
            )
            for answers in outcome.answers
        ],
        outcome.end_tokens,
    ]


def pair(artifact: Outcome, reference: Outcome, work: Work | None = None) -> Pair:
    return Pair(work=work or Work(), reference=reference, artifact=artifact)


__all__ = ["END", "NO_END", "make_answers", "make_outcome", "pair", "written"]
