"""A llama_batch: what llama.cpp is asked to decode in one call."""

from __future__ import annotations

from typing import Any

import numpy as np


class Batch:
    """A llama_batch seen through numpy, so that filling it is not a Python loop."""

    def __init__(self, lib: Any, size: int) -> None:  # noqa: ANN401 - the module
        self._lib = lib
        self._batch = lib.llama_batch_init(size, 0, 1)
        as_array = np.ctypeslib.as_array
        self._tokens = as_array(self._batch.token, (size,))
        self._positions = as_array(self._batch.pos, (size,))
        self._wanted = as_array(self._batch.logits, (size,))
        as_array(self._batch.n_seq_id, (size,))[:] = 1
        self._sequences = np.full(size, -1, dtype=np.int32)  # what lies there is not known
        self._assign(np.zeros(size, dtype=np.int32))

    def _assign(self, sequences: np.ndarray) -> None:
        """Say which sequence each token belongs to; loops over C pointers only where it changes."""
        known = self._sequences[: len(sequences)]
        for slot in np.flatnonzero(sequences != known):
            self._batch.seq_id[int(slot)][0] = int(sequences[slot])
        known[:] = sequences

    def fill(
        self, tokens: np.ndarray, positions: np.ndarray, owners: np.ndarray, *, wanted: np.ndarray
    ) -> Any:  # noqa: ANN401 - a C structure
        """Any tokens of any sequences.

        Args:
            tokens: shape (n,).
            positions: of each token in its sequence.
            owners: the sequence of each token, int32.
            wanted: whether output is wanted after it, bool.
        """
        count = len(tokens)
        self._assign(owners)
        self._tokens[:count] = tokens
        self._positions[:count] = positions
        self._wanted[:count] = wanted
        self._batch.n_tokens = count
        return self._batch

    def fill_windows(self, windows: np.ndarray, *, start: int, first: int) -> Any:  # noqa: ANN401
        """Sequences of one length, from position `start`, output wanted from position `first`."""
        count, size = windows.shape
        positions = np.tile(np.arange(start, start + size), count)
        owners = np.repeat(np.arange(count, dtype=np.int32), size)
        return self.fill(windows.reshape(-1), positions, owners, wanted=positions >= first)

    def fill_next(self, token: int, position: int) -> Any:  # noqa: ANN401 - a C structure
        """One more token of the one sequence, output wanted; what a timed token waits for."""
        if self._sequences[0] != 0:
            self._assign(np.zeros(1, dtype=np.int32))
        self._tokens[0], self._positions[0], self._wanted[0] = token, position, True
        self._batch.n_tokens = 1
        return self._batch

    def free(self) -> None:
        self._lib.llama_batch_free(self._batch)
