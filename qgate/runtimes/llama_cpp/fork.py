"""Choices of one item share their prompt: llama.cpp reads it once, and each choice goes on from it.

As llama.cpp's own `llama-perplexity --multiple-choice` does: the prompt's cells of the cache are
given to the sequences of all choices, which costs nothing in a cache that sequences share.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Span
    from qgate.runtimes.llama_cpp.context import Context
    from qgate.runtimes.worker.forks import Fork

_ROWS_PER_PART = 64


def logits_of_forks(
    context: Context, spans: Sequence[Span], forks: Sequence[Fork]
) -> Iterator[np.ndarray]:
    """Rows in the order of the spans, as `Runtime.logits_of_spans` promises them.

    Args:
        context: with a cache that sequences share, one sequence a span.
        spans: what is scored.
        forks: of all spans, from `find_forks`.

    Yields:
        Shape (rows, n_vocab), float32.
    """
    context.clear()
    behind_prompts = _read_prompts(context, forks)
    for fork in forks:
        for number in range(fork.first + 1, fork.stop):
            context.copy_sequence(fork.first, number)
    choices = _Choices(context, spans)
    wanted: list[np.ndarray] = []
    for number, fork in enumerate(forks):
        for span in range(fork.first, fork.stop):
            wanted.append(behind_prompts[number])
            for _ in range(choices.size(span)):
                wanted.append(choices.next_row())
                if len(wanted) >= _ROWS_PER_PART:
                    yield np.stack(wanted)
                    wanted = []
    if wanted:
        yield np.stack(wanted)


def _read_prompts(context: Context, forks: Sequence[Fork]) -> np.ndarray:
    """Logits after each prompt, shape (forks, n_vocab)."""
    sizes = [len(fork.prompt) for fork in forks]
    tokens = np.concatenate([fork.prompt for fork in forks])
    positions = np.concatenate([np.arange(size) for size in sizes])
    owners = np.repeat(np.array([fork.first for fork in forks], dtype=np.int32), sizes)
    is_last = np.zeros(len(tokens), dtype=bool)
    is_last[np.cumsum(sizes) - 1] = True
    rows = []
    for start in range(0, len(tokens), context.shape.per_call):
        part = slice(start, start + context.shape.per_call)
        context.decode(
            context.batch.fill_mixed(
                tokens[part], positions[part], owners[part], wanted=is_last[part]
            )
        )
        if count := int(is_last[part].sum()):
            rows.append(context.logits(count).copy())
    return np.concatenate(rows)


class _Choices:
    """What follows the prompts, decoded call by call as its rows are asked for."""

    def __init__(self, context: Context, spans: Sequence[Span]) -> None:
        self._context = context
        # the last token predicts nothing
        parts = [span.ids[span.first + 1 : -1] for span in spans]
        self._sizes = [len(part) for part in parts]
        self._tokens = np.concatenate(parts)
        self._positions = np.concatenate(
            [
                np.arange(span.first + 1, span.first + 1 + size)
                for span, size in zip(spans, self._sizes, strict=True)
            ]
        )
        self._owners = np.repeat(np.arange(len(spans), dtype=np.int32), self._sizes)
        self._rows = iter(itertools.chain.from_iterable(self._calls()))

    def size(self, span: int) -> int:
        """Rows of a span beside the one after its prompt."""
        return self._sizes[span]

    def next_row(self) -> np.ndarray:
        """Logits after the next token, shape (n_vocab,); a copy."""
        row: np.ndarray = next(self._rows)
        return row.copy()

    def _calls(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._tokens), self._context.shape.per_call):
            part = slice(start, start + self._context.shape.per_call)
            count = len(self._tokens[part])
            self._context.decode(
                self._context.batch.fill_mixed(
                    self._tokens[part],
                    self._positions[part],
                    self._owners[part],
                    wanted=np.ones(count, dtype=bool),
                )
            )
            yield self._context.logits(count)
