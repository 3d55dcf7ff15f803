"""Text from a model in transformers, with a loop of our own around its forward.

`generate()` would warn, sample by its own draws and hide when a token was known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.runtimes.worker.sampling import best, best_by_far, write
from qgate.runtimes.worker.stop_strings import SideBySide

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.base import Answer, Progress, Prompt, Sampled, Sampling
    from qgate.runtimes.hf_vocabulary import Vocabulary
    from qgate.runtimes.transformers.forward import Body, Read

_REPORT_EVERY = 16
_TOKENS_PER_CALL = 4096
"""Of prompts, those side by side together: what the layers in between hold is bounded by it."""


def draw_text(body: Body, sampling: Sampling, first_token: int, progress: Progress) -> Sampled:
    """Text of the model's own, all sequences in step."""
    cache = None

    def read(tokens: np.ndarray, _: int, wanted: np.ndarray) -> np.ndarray:
        nonlocal cache
        found = body.read(tokens[:, None], cache, keep=True)
        cache = found.cache
        if not wanted.any():
            return np.empty((0, 0), dtype=np.float32)
        return body.logits(found.states[body.tensor(np.flatnonzero(wanted)), -1])

    return write(sampling, first_token, read, progress)


def stream(body: Body, ids: np.ndarray, count: int) -> Iterator[int]:
    """`count` greedy tokens after a prompt, each when it is known, whatever they mean."""
    read = read_prompts(body, ids[None], None)
    for number in range(count):
        (token,) = best(body.logits(read.states[:, -1]))
        yield token
        if number + 1 < count:
            read = body.read(np.array([[token]]), read.cache, keep=True)


def answer_together(
    body: Body, prompts: Sequence[Prompt], vocab: Vocabulary, progress: Progress
) -> list[Answer]:
    """Greedy answers of prompts that are decoded side by side, each until its end or its length."""
    rows = _Rows(body, prompts)
    given = SideBySide(prompts, vocab.decode)
    for step in range(max(prompt.max_tokens for prompt in prompts)):
        going = [
            place
            for place, (token, margin) in enumerate(best_by_far(rows.logits()))
            if given.add(rows.numbers[place], token, margin, is_end=token in vocab.end_tokens)
        ]
        numbers = [rows.numbers[place] for place in going]
        if given.are_settled(numbers):
            break
        rows.go_on(going, [given.ids[number][-1] for number in numbers])
        if step % _REPORT_EVERY == 0:
            progress("answering", step, prompts[0].max_tokens)
    return given.answers()


class _Rows:
    """The answers that are not finished, side by side, each behind its prompt.

    Shorter prompts are padded on their left, so that all go on at the same column.
    """

    def __init__(self, body: Body, prompts: Sequence[Prompt]) -> None:
        self._body = body
        self.numbers = list(range(len(prompts)))
        """Which prompt each row belongs to."""
        ids, self._mask = pad_left([prompt.ids for prompt in prompts])
        self._read = read_prompts(body, ids, self._mask)

    def logits(self) -> np.ndarray:
        """After the last token of each row, shape (rows, n_vocab)."""
        return self._body.logits(self._read.states[:, -1])

    def go_on(self, places: Sequence[int], tokens: Sequence[int]) -> None:
        """Read one more token in each of these rows; the others are finished."""
        cache = self._read.cache
        if len(places) < len(self.numbers):
            self.numbers = [self.numbers[place] for place in places]
            cache.batch_select_indices(self._body.tensor(np.array(places)))
            if self._mask is not None:
                self._mask = np.take(self._mask, places, axis=0)
        positions = None
        if self._mask is not None:
            positions = self._mask.sum(axis=1, keepdims=True)
            self._mask = np.concatenate([self._mask, np.ones_like(positions)], axis=1)
        self._read = self._body.read(
            np.array(tokens)[:, None],
            cache,
            keep=True,
            attention_mask=self._mask,
            position_ids=positions,
        )


def pad_left(prompts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
    """Prompts that end in the same column, and where they are; None: nothing is padded.

    Returns:
        Token ids, int64, and 1 where one is and 0 where not; both of shape (prompts, tokens).
    """
    longest = max(map(len, prompts))
    ids = np.zeros((len(prompts), longest), dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    # without a mask attention is faster, and right where nothing is padded
    return ids, None if mask.all() else mask


def read_prompts(body: Body, ids: np.ndarray, mask: np.ndarray | None) -> Read:
    """Read prompts into a fresh cache, some columns at a time.

    Args:
        body: the model.
        ids: shape (prompts, tokens), padded on the left where `mask` is 0.
        mask: the same shape; None: nothing is padded.
    """
    positions = None if mask is None else np.maximum(mask.cumsum(axis=1) - 1, 0)
    columns = max(1, _TOKENS_PER_CALL // len(ids))
    read: Read | None = None
    for start in range(0, ids.shape[1], columns):
        stop = start + columns
        read = body.read(
            ids[:, start:stop],
            None if read is None else read.cache,
            keep=True,
            attention_mask=None if mask is None else mask[:, :stop],
            position_ids=None if positions is None else positions[:, start:stop],
        )
    assert read is not None  # a prompt has at least one token
    return read
