"""The reference's likeliest tokens at the kept positions: as they are stored, or taken from tiles.

    kept.npy      log-probabilities, shape (kept positions, k), float32
    kept_ids.npy  the tokens, the same shape, int32, the likeliest first

A reference that was served by a runtime with logits is stored in another encoding
(`qgate.runtimes.worker.reference_logits`); its likeliest tokens are then found in what can be read
back of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.worker.reference_logits import Reference, mapped_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.runtimes.worker.reference_logits import Stored
    from qgate.runtimes.worker.threads import ThreadTeam

_COLUMNS_AT_ONCE = 4096
_POSITIONS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TopRows:
    """The reference's k likeliest tokens at some positions."""

    ids: np.ndarray
    """Shape (positions, k), int32, the likeliest first."""
    logprobs: np.ndarray
    """Shape (positions, k), float32."""

    def part(self, begin: int, end: int) -> TopRows:
        return TopRows(ids=self.ids[begin:end], logprobs=self.logprobs[begin:end])


class TopKeeper:
    """Writes the reference's likeliest tokens while it is scored."""

    def __init__(self, stored: Stored, positions: int, k: int) -> None:
        shape = (positions, k)
        self._logprobs = mapped_file(stored.array, np.float32, shape)
        self._ids = mapped_file(_ids_beside(stored), np.int32, shape)

    def keep(self, begin: int, rows: TopRows) -> None:
        self._ids[begin : begin + len(rows.ids)] = rows.ids
        self._logprobs[begin : begin + len(rows.ids)] = rows.logprobs

    def kept(self) -> TopRows:
        """Everything, as it will be read back."""
        self._ids.flush()
        self._logprobs.flush()
        return TopRows(ids=np.asarray(self._ids), logprobs=np.asarray(self._logprobs))


def read_top_rows(stored: Stored, positions: int) -> TopRows:
    """What a `TopKeeper` wrote.

    Raises:
        MeasurementError: the store does not hold so many positions.
    """
    logprobs = np.load(stored.array, mmap_mode="r", allow_pickle=False)[stored.begin :]
    ids = np.load(_ids_beside(stored), mmap_mode="r", allow_pickle=False)[stored.begin :]
    if logprobs.shape != ids.shape or len(ids) < positions:
        raise MeasurementError(
            f"reference store: got {len(ids)} positions; expected at least {positions}."
            " Delete the store to have it measured again"
        )
    return TopRows(ids=np.asarray(ids), logprobs=np.asarray(logprobs))


def find_top_rows(
    stored: Stored,
    anchors: np.ndarray,
    k: int,
    team: ThreadTeam,
    report: Callable[[int], None],
) -> TopRows:
    """The likeliest tokens of a reference that is stored as states or rows.

    Args:
        stored: in the encoding `hidden` or `rows`.
        anchors: a number near logsumexp of each kept row, shape (kept positions,).
        k: how many tokens; fewer where the vocabulary has fewer.
        team: threads to spread the positions over.
        report: told how many positions are done.
    """
    reference, count = Reference(stored), len(anchors)
    k = min(k, reference.n_vocab)
    ids, logprobs = np.empty((count, k), np.int32), np.empty((count, k), np.float32)

    def find(begin: int) -> None:
        rows = slice(begin, min(begin + _POSITIONS_AT_ONCE, count))
        ids[rows], logprobs[rows] = _likeliest(reference, rows, anchors[rows], k)
        report(rows.stop)

    team.map(find, range(0, count, _POSITIONS_AT_ONCE))
    return TopRows(ids=ids, logprobs=logprobs)


def _likeliest(
    reference: Reference, rows: slice, anchors: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    tiles = reference.tiles(rows.start, rows.stop)
    shift = anchors.astype(np.float32)[:, None]
    best: np.ndarray = np.empty((len(anchors), 0), np.float32)
    ids: np.ndarray = np.empty((len(anchors), 0), np.int32)
    mass = np.zeros(len(anchors))
    for start in range(0, reference.n_vocab, _COLUMNS_AT_ONCE):
        tile = tiles(start, min(start + _COLUMNS_AT_ONCE, reference.n_vocab)) - shift
        mass += np.exp(tile).sum(axis=1, dtype=np.float64)
        columns = np.arange(start, start + tile.shape[1], dtype=np.int32)
        best = np.concatenate([best, tile], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(columns, tile.shape)], axis=1)
        if best.shape[1] > k:
            keep = np.argpartition(best, -k, axis=1)[:, -k:]
            best, ids = (np.take_along_axis(part, keep, axis=1) for part in (best, ids))
    order = np.argsort(-best, axis=1, kind="stable")
    best, ids = (np.take_along_axis(part, order, axis=1) for part in (best, ids))
    return ids, (best - np.log(mass)[:, None]).astype(np.float32)


def _ids_beside(stored: Stored) -> str:
    path = Path(stored.array)
    return str(path.with_name(f"{path.stem}_ids.npy"))
