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
    owners = np.array([fork.first for fork in forks], dtype=np.int32)
    after_prompts = context.rows_after([fork.prompt for fork in forks], owners)
    behind_prompts = np.concatenate([rows.copy() for rows in after_prompts])
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


class _Choices:
    """What follows the prompts, decoded call by call as its rows are asked for."""

    def __init__(self, context: Context, spans: Sequence[Span]) -> None:
        # the last token predicts nothing
        parts = [span.ids[span.first + 1 : -1] for span in spans]
        self._sizes = [len(part) for part in parts]
        tokens = np.concatenate(parts)
        positions = np.concatenate(
            [
                np.arange(span.first + 1, span.first + 1 + size)
                for span, size in zip(spans, self._sizes, strict=True)
            ]
        )
        owners = np.repeat(np.arange(len(spans), dtype=np.int32), self._sizes)
        calls = context.rows_of(tokens, positions, owners, wanted=np.ones(len(tokens), dtype=bool))
        self._rows = itertools.chain.from_iterable(calls)

    def size(self, span: int) -> int:
        """Rows of a span beside the one after its prompt."""
        return self._sizes[span]

    def next_row(self) -> np.ndarray:
        """Logits after the next token, shape (n_vocab,); a copy."""
        row: np.ndarray = next(self._rows)
        return row.copy()
