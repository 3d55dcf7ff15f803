"""The original's full next-token distributions, kept small and read back. Runs in the child.

Two encodings, both exact over the whole vocabulary up to 16-bit rounding:

    hidden   the final hidden state of each kept position (`width` numbers) and, by reference, the
             output matrix that lies in the original's own file. For a vocabulary of 128k and a
             width of 4096 that is 3 % of llama.cpp's base file.
    rows     the logits themselves, less each row's largest, for models whose logits are not
             simply the matrix times the state (soft-capped, scaled, quantized output matrix).

Which one a reference uses is measured, not guessed: the KL of the original against its own stored
self has to stay below 1e-5 nats.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.reductions import OriginalTile

Encoding = Literal["hidden", "rows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPlace:
    """Where an unquantized output matrix lies: nothing is copied out of the model file."""

    path: str
    offset: int
    """Bytes from the beginning of the file."""
    n_vocab: int
    width: int
    type_name: Literal["F32", "F16", "BF16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The original's kept positions on disk, as the parent tells the child about them."""

    encoding: Encoding
    array: str
    """An .npy file: float16, shape (kept positions, width or n_vocab)."""
    stride: int
    """Every `stride`-th scored position of a window is kept."""
    matrix: MatrixPlace | None
    """None for `rows`."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Stored:
        place = value["matrix"]
        matrix = MatrixPlace(**place) if place is not None else None
        return cls(**{**value, "matrix": matrix})


class Original:
    """Hands out the original's logits, window by window."""

    def __init__(self, stored: Stored) -> None:
        self._kept = np.load(stored.array, mmap_mode="r", allow_pickle=False)
        self._matrix = _Matrix(stored.matrix) if stored.matrix else None

    def tiles(self, begin: int, end: int) -> OriginalTile:
        """The logits of kept positions begin..end, in slices of the vocabulary."""
        kept = self._kept[begin:end]
        if len(kept) != end - begin:
            raise MeasurementError(
                f"reference store: got {len(self._kept)} positions; expected at least {end}."
                " Delete the store to have it measured again"
            )
        states = kept.astype(np.float32)
        matrix = self._matrix
        if matrix is None:
            return lambda start, stop: states[:, start:stop].copy()
        return lambda start, stop: states @ matrix.rows(start, stop).T


class Keeper:
    """Writes the original's kept positions while it is scored."""

    def __init__(self, stored: Stored, positions: int, columns: int) -> None:
        self._array = np.lib.format.open_memmap(
            stored.array, mode="w+", dtype=np.float16, shape=(positions, columns)
        )
        self._encoding = stored.encoding
        self._matrix = _Matrix(stored.matrix) if stored.matrix else None

    def keep(self, begin: int, logits: np.ndarray, hidden: np.ndarray) -> OriginalTile:
        """Store one window's kept rows; returns them as they will be read back."""
        values = hidden if self._encoding == "hidden" else _centred(logits)
        rows = self._array[begin : begin + len(values)]
        rows[:] = values
        states = rows.astype(np.float32)
        matrix = self._matrix
        if matrix is None:
            return lambda start, stop: states[:, start:stop].copy()
        return lambda start, stop: states @ matrix.rows(start, stop).T

    def close(self) -> None:
        self._array.flush()


class _Matrix:
    """The output matrix, memory-mapped; rows are widened to float32 as they are asked for."""

    def __init__(self, place: MatrixPlace) -> None:
        kinds = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
        self._wide = place.type_name == "BF16"
        self._values = np.memmap(
            Path(place.path),
            dtype=kinds[place.type_name],
            mode="r",
            offset=place.offset,
            shape=(place.n_vocab, place.width),
        )

    def rows(self, start: int, stop: int) -> np.ndarray:
        part = self._values[start:stop]
        if self._wide:
            return (part.astype(np.uint32) << 16).view(np.float32)
        return part.astype(np.float32)


def _centred(logits: np.ndarray) -> np.ndarray:
    """Logits less the row's largest: float16 then is most precise where the mass is."""
    floor = np.finfo(np.float16).min
    centred: np.ndarray = np.maximum(logits - logits.max(axis=1, keepdims=True), floor)
    return centred
