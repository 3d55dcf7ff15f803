"""The reference's full next-token distributions, kept small and read back. Runs in the child.

Two encodings are exact over the whole vocabulary up to 16-bit rounding, the third is all that a
runtime without logits tells:

    hidden   the final hidden state of each kept position (`width` numbers) and, by reference, the
             output matrix that lies in the reference's own file. For a vocabulary of 128k and a
             width of 4096 that is 3 % of llama.cpp's base file.
    rows     the logits themselves, less each row's largest, for models whose logits are not
             simply the matrix times the state (soft-capped, scaled, quantized output matrix).
    top_k    log-probabilities of the likeliest tokens (`qgate.runtimes.worker.logprob_store`).

Which of the first two a reference uses is measured, not guessed: the KL of the reference against
its own stored self has to stay below 1e-5 nats.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from qgate.errors import MeasurementError, StoreFull

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.runtimes.worker.reductions import ReferenceTile

_ONE_SIGN = np.int32(-0x70000001)
"""All bits but the three copies of the sign."""
_EXPONENT_GAP = np.float32(2.0**112)
"""float32 and float16 have exponent biases of 127 and 15."""
Encoding = Literal["hidden", "rows", "top_k"]
UNQUANTIZED_TYPES: Mapping[str, str] = MappingProxyType({"F32": "<f4", "F16": "<f2", "BF16": "<u2"})
"""Types of output matrices that can be read in place, and how numpy reads them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixPlace:
    """Where an unquantized output matrix lies: nothing is copied out of the model file."""

    path: str
    offset: int
    """Bytes from the beginning of the file."""
    n_vocab: int
    width: int
    type_name: str
    """One of `UNQUANTIZED_TYPES`."""
    file: tuple[int, ...] = ()
    """What `identify` tells of the file; empty where any will do."""


def identify(found: os.stat_result) -> tuple[int, ...]:
    """Device, inode, size and time of the last write: another file has others."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The reference's kept positions on disk, as the parent tells the child about them."""

    encoding: Encoding
    array: str
    """An .npy file: float16, shape (kept positions, width or n_vocab); of `top_k` float32, shape
    (kept positions, k), with the tokens in a file beside it."""
    stride: int
    """Every `stride`-th scored position of a window is kept."""
    matrix: MatrixPlace | None
    """None but for `hidden`."""
    begin: int = 0
    """Kept positions that lie before the first one that is meant: not all windows are scored."""


class Reference:
    """Hands out the reference's logits at the kept positions, in slices of the vocabulary."""

    def __init__(self, stored: Stored) -> None:
        self._kept = np.load(stored.array, mmap_mode="r", allow_pickle=False)[stored.begin :]
        self._matrix = _Matrix(stored.matrix) if stored.matrix else None
        self.n_vocab: int = stored.matrix.n_vocab if stored.matrix else self._kept.shape[1]

    def tiles(self, begin: int, end: int, wanted: np.ndarray | None = None) -> ReferenceTile:
        """The logits of kept positions begin..end; `wanted`, bool: of these among them alone."""
        kept = self._kept[begin:end]
        if len(kept) != end - begin:
            raise MeasurementError(
                f"reference store: got {len(self._kept)} positions; expected at least {end}."
                " Delete the store to have it measured again"
            )
        return _tiles(kept if wanted is None else kept[wanted], self._matrix)


class Keeper:
    """Writes the reference's kept positions while it is scored."""

    def __init__(self, stored: Stored, positions: int, columns: int) -> None:
        self._array = mapped_file(stored.array, np.float16, (positions, columns))
        self._matrix = _Matrix(stored.matrix) if stored.matrix else None

    def keep(
        self, begin: int, values: np.ndarray, wanted: np.ndarray | None = None
    ) -> ReferenceTile | None:
        """Store one window's kept rows.

        Returns:
            The rows as they will be read back, the `wanted` ones (bool; None: all); None where
            they cannot be, because a number is too large for 16 bits.
        """
        rows = self._array[begin : begin + len(values)]
        with np.errstate(over="ignore"):
            rows[:] = values
        if not np.isfinite(rows).all():
            return None
        return _tiles(rows if wanted is None else rows[wanted], self._matrix)


def mapped_file(path: str, dtype: type[np.generic], shape: tuple[int, int]) -> np.memmap[Any, Any]:
    """A new .npy file as an array.

    Its room is taken now: a mapped page for which there is none kills the process.

    Raises:
        StoreFull: the file cannot be made, or there is no room for it.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
        with open(path, "r+b") as file:  # noqa: PTH123 - a string, as the parent sent it
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise StoreFull(error.strerror or str(error)) from error
    return array


def _tiles(kept: np.ndarray, matrix: _Matrix | None) -> ReferenceTile:
    states = kept.astype(np.float32)
    if matrix is None:
        return lambda start, stop: states[:, start:stop].copy()
    return lambda start, stop: states @ matrix.rows(start, stop).T


class _Matrix:
    """The output matrix, read from its file a few rows at a time and widened to float32.

    Read, not mapped: mapped pages would count as this process's memory, all 131 MB of them for a
    vocabulary of 128k and a width of 512. Each thread reads into buffers of its own, again and
    again: fresh ones would cost more than the reading.
    """

    def __init__(self, place: MatrixPlace) -> None:
        self._place = place
        self._dtype = np.dtype(UNQUANTIZED_TYPES[place.type_name])
        self._file = os.open(place.path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._file)
        if place.file and tuple(place.file) != identify(os.fstat(self._file)):
            raise MeasurementError(
                f"{place.path}: got another file than the reference's when its output matrix was"
                " read again; expected the same. Run again when nobody writes to it"
            )
        self._scratch = threading.local()

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows start..stop, shape (stop - start, width), float32; until this thread's next call."""
        place, count = self._place, stop - start
        narrow, wide = self._buffers(count)
        at = place.offset + start * place.width * self._dtype.itemsize
        if os.preadv(self._file, [narrow.data], at) != narrow.nbytes:
            raise MeasurementError(f"{place.path}: the reference's output matrix is cut short")
        return _widen(narrow, wide, place.type_name)

    def _buffers(self, count: int) -> tuple[np.ndarray, np.ndarray]:
        known = getattr(self._scratch, "buffers", None)
        if known is None or len(known[0]) < count:
            shape = (count, self._place.width)
            known = np.empty(shape, dtype=self._dtype), np.empty(shape, dtype=np.float32)
            self._scratch.buffers = known
        return known[0][:count], known[1][:count]


def _widen(narrow: np.ndarray, wide: np.ndarray, type_name: str) -> np.ndarray:
    """To float32, exact for every finite float16.

    By moving its bits and mending the exponent: numpy's own cast takes three times as long, which
    a large vocabulary feels.
    """
    if type_name == "F32":
        return narrow
    bits = wide.view(np.int32)
    if type_name == "BF16":
        np.copyto(bits, narrow.view(np.int16))
        bits <<= 16
        return wide
    np.copyto(bits, narrow.view(np.int16))
    bits <<= 13  # sign-extended: four copies of the sign, then exponent and mantissa in place
    bits &= _ONE_SIGN
    wide *= _EXPONENT_GAP
    return wide


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits less the row's largest: float16 then is most precise where the mass is."""
    floor = np.finfo(np.float16).min
    centred: np.ndarray = np.maximum(logits - logits.max(axis=-1, keepdims=True), floor)
    return centred
