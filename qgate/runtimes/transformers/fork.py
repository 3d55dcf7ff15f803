"""Choices that share their prompt, in transformers: its keys and values are read once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.runtimes.transformers.generate import pad_left, read_prompts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.base import Span
    from qgate.runtimes.transformers.forward import Body
    from qgate.runtimes.worker.forks import Fork


def states_of_forks(body: Body, spans: Sequence[Span], forks: Sequence[Fork]) -> dict[int, Any]:
    """Final hidden states of the scored rows of each span, by its number.

    Args:
        body: the model.
        spans: what is scored.
        forks: some of those of the spans; their prompts are read side by side.

    Returns:
        Tensors of shape (rows, width).
    """
    ids, mask = pad_left([fork.prompt for fork in forks])
    read = read_prompts(body, ids, mask)
    numbers = [number for fork in forks for number in range(fork.first, fork.stop)]
    rows = np.repeat(np.arange(len(forks)), [fork.stop - fork.first for fork in forks])
    behind = read.states[:, -1:]
    # the last token predicts nothing
    tails = [spans[number].ids[spans[number].first + 1 : -1] for number in numbers]
    longest = max(map(len, tails))
    if not longest:
        return {number: behind[row] for number, row in zip(numbers, rows, strict=True)}
    followed = _read_tails(body, tails, read.cache, rows, mask)
    return {
        number: body.join([behind[row], followed[place, : len(tail)]])
        for place, (number, row, tail) in enumerate(zip(numbers, rows, tails, strict=True))
    }


def _read_tails(
    body: Body,
    tails: Sequence[np.ndarray],
    cache: Any,  # noqa: ANN401 - the library's
    rows: np.ndarray,
    mask: np.ndarray | None,
) -> Any:  # noqa: ANN401 - a tensor
    """Final hidden states, shape (tails, tokens of the longest, width).

    Shorter tails are padded behind their end, where nothing before it looks.

    Args:
        body: the model.
        tails: what follows the prompts.
        cache: of the prompts; each tail gets that of its own.
        rows: the prompt of each tail.
        mask: of the prompts, padded on the left where it is 0; None: nothing is padded.
    """
    ids = np.zeros((len(tails), max(map(len, tails))), dtype=np.int64)
    for place, tail in enumerate(tails):
        ids[place, : len(tail)] = tail
    cache.batch_select_indices(body.tensor(rows))
    positions = whole = None
    if mask is not None:
        own = mask[rows]
        positions = own.sum(axis=1, keepdims=True) + np.arange(ids.shape[1])
        whole = np.concatenate([own, np.ones_like(ids)], axis=1)
    return body.read(ids, cache, keep=True, attention_mask=whole, position_ids=positions).states
