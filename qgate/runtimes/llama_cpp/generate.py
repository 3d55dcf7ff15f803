"""Text from llama.cpp: drawn from the model itself, or its most likely answer to prompts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

from qgate.runtimes.worker.sampling import best, best_by_far, write
from qgate.runtimes.worker.stop_strings import SideBySide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Answer, Progress, Prompt, Sampled, Sampling
    from qgate.runtimes.llama_cpp.context import Context
    from qgate.runtimes.llama_cpp.vocabulary import Vocabulary

_REPORT_EVERY = 16


def draw_text(
    context: Context, sampling: Sampling, first_token: int, progress: Progress
) -> Sampled:
    """Text of the model's own, all sequences in step."""
    owners = np.arange(sampling.sequences, dtype=np.int32)
    context.clear()

    def read(tokens: np.ndarray, position: int, wanted: np.ndarray) -> np.ndarray:
        positions = np.full(len(tokens), position)
        context.decode(context.batch.fill(tokens, positions, owners, wanted=wanted))
        rows = int(wanted.sum())
        return context.logits(rows) if rows else np.empty((0, 0), dtype=np.float32)

    return write(sampling, first_token, read, progress)


def answer_together(
    context: Context, prompts: Sequence[Prompt], vocab: Vocabulary, progress: Progress
) -> list[Answer]:
    """Greedy answers of prompts that are decoded side by side, each until its end or its length."""
    context.clear()
    numbers = np.arange(len(prompts), dtype=np.int32)
    parts = context.rows_after([prompt.ids for prompt in prompts], numbers)
    chosen = dict(enumerate(itertools.chain.from_iterable(map(best_by_far, parts))))
    given = SideBySide(prompts, vocab.decode)
    for step in range(max(prompt.max_tokens for prompt in prompts)):
        going = [
            number
            for number, (token, margin) in chosen.items()
            if given.add(number, token, margin, is_end=vocab.is_end(token))
        ]
        if given.are_settled(going):
            break
        batch = context.batch.fill(
            np.array([given.ids[number][-1] for number in going], dtype=np.int32),
            np.array([len(prompts[number].ids) + len(given.ids[number]) - 1 for number in going]),
            np.array(going, dtype=np.int32),
            wanted=np.ones(len(going), dtype=bool),
        )
        context.decode(batch)
        chosen = dict(zip(going, best_by_far(context.logits(len(going))), strict=True))
        if step % _REPORT_EVERY == 0:
            progress("answering", step, prompts[0].max_tokens)
    return given.answers()


def stream(context: Context, ids: np.ndarray, count: int) -> Iterator[int]:
    """`count` greedy tokens after a prompt, each when it is known, whatever they mean."""
    context.clear()
    per_call = context.shape.per_call
    for start in range(0, len(ids), per_call):
        part = ids[start : start + per_call]
        batch = context.batch.fill_windows(part[None], start=start, first=len(ids) - 1)
        context.decode(batch)
    for position in range(len(ids), len(ids) + count):
        (token,) = best(context.logits(1))
        yield token
        if position + 1 < len(ids) + count:
            context.decode(context.batch.fill_next(token, position))
