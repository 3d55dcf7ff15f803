"""Scores token windows in the child: per token a negative log-likelihood, and a divergence.

Each token behind position `first` of a window is scored; the last position predicts nothing that
is in the window. By llama.cpp's `perplexity` convention `first` is the middle of the window.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.worker import reductions
from qgate.runtimes.worker.reference_logits import Keeper, Reference, Stored, centred
from qgate.runtimes.worker.threads import ThreadTeam

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.runtimes.base import LogitsScorer, Progress
    from qgate.runtimes.worker.reductions import ReferenceTile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """What to score and what to hold it against."""

    windows: np.ndarray
    """Token ids, shape (n, window_tokens), int32."""
    first: int
    """First position whose successor is scored."""
    stored: Stored | None = None
    """Where the reference's distributions are kept; None: likelihoods only."""
    anchors: np.ndarray | None = None
    """The reference's logsumexp at each kept position, as it is kept; None: the reference itself is
    scored, and `stored` is to be written."""
    tops: np.ndarray | None = None
    """The token that the reference ranks first at each kept position."""
    compared: np.ndarray | None = None
    """Which of the kept positions have their distributions compared, bool; None: all. What is told
    of the others says nothing."""

    @property
    def scored_per_window(self) -> int:
        return int(self.windows.shape[1]) - 1 - self.first

    @property
    def kept_per_window(self) -> int:
        stride = self.stored.stride if self.stored else 1
        return len(range(0, self.scored_per_window, stride))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What came out at some positions of one or more windows; views, nothing is copied."""

    logits: np.ndarray
    """Shape (windows, rows, n_vocab), float32."""
    hidden: np.ndarray | None
    """Final hidden states, shape (windows, rows, width); only while the reference is scored."""
    normalizers: np.ndarray
    """Logsumexp of the logits, shape (windows, rows), float64."""

    def tops(self) -> np.ndarray:
        """The token ranked first at each position, shape (windows x rows,), int32."""
        # row by row: of a view with gaps between its rows, numpy would make a copy first
        best = [row.argmax() for window in self.logits for row in window]
        return np.array(best, dtype=np.int32)

    def top_logprobs(self) -> np.ndarray:
        """Log-probability of that token, nats, shape (windows x rows,), float32."""
        best = [row.max() for window in self.logits for row in window]
        found: np.ndarray = (np.array(best) - self.normalizers.reshape(-1)).astype(np.float32)
        return found

    def pick(self, wanted: np.ndarray) -> Rows:
        """Some of them as those of one window, copied; `wanted`: shape (windows x rows,), bool."""
        places = np.nonzero(wanted.reshape(self.normalizers.shape))
        return Rows(
            logits=self.logits[places][None],
            hidden=None if self.hidden is None else self.hidden[places][None],
            normalizers=self.normalizers[places][None],
        )

    def every(self, stride: int, start: int) -> Rows:
        hidden = None if self.hidden is None else self.hidden[:, start::stride]
        return Rows(
            logits=self.logits[:, start::stride],
            hidden=hidden,
            normalizers=self.normalizers[:, start::stride],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where a part of the rows lies."""

    window: int
    """The first of its windows."""
    row: int
    """Scored positions of that window that lie before it."""

    def kept(self, stride: int) -> int:
        """How many of those before it are kept."""
        return len(range(0, self.row, stride))


class Comparing(Protocol):
    """What looks at rows of kept positions."""

    def compare(self, begin: int, rows: Rows, team: ThreadTeam) -> dict[str, np.ndarray]:
        """A few numbers for each position; the first is the `begin`-th of those that are kept."""


class _AgainstReference:
    """The artifact's rows against what was kept of the reference."""

    def __init__(
        self, stored: Stored, anchors: np.ndarray, tops: np.ndarray, compared: np.ndarray | None
    ) -> None:
        self._reference, self._anchors, self._tops = Reference(stored), anchors, tops
        self._compared = compared

    def compare(self, begin: int, rows: Rows, team: ThreadTeam) -> dict[str, np.ndarray]:
        end = begin + rows.normalizers.size
        compared = None if self._compared is None else self._compared[begin:end]
        tiles, anchors = self._reference.tiles(begin, end, compared), self._anchors[begin:end]
        kl = _divergence(tiles, anchors, rows, compared, team)
        return {"kl_nats": kl, "same_top": rows.tops() == self._tops[begin:end]}


def _divergence(
    tiles: ReferenceTile,
    anchors: np.ndarray,
    rows: Rows,
    compared: np.ndarray | None,
    team: ThreadTeam,
) -> np.ndarray:
    """Of each row; zero of those that are not compared, which `tiles` does not have either."""
    if compared is None:
        return reductions.divergence(tiles, anchors, rows.logits, rows.normalizers, team)
    kl = np.zeros(len(anchors))
    if compared.any():
        some = rows.pick(compared)
        kl[compared] = reductions.divergence(
            tiles, anchors[compared], some.logits, some.normalizers, team
        )
    return kl


class _KeepingReference:
    """The reference's rows: kept, and compared with what was kept of them."""

    def __init__(self, stored: Stored, positions: int, compared: np.ndarray | None) -> None:
        self._stored, self._positions, self._compared = stored, positions, compared
        self._keeper: Keeper | None = None

    def compare(self, begin: int, rows: Rows, team: ThreadTeam) -> dict[str, np.ndarray]:
        if (rows.logits == rows.logits[..., :1]).all():
            raise MeasurementError("the reference says nothing: all its logits are equal")
        values, anchors = rows.hidden, rows.normalizers.reshape(-1)
        if self._stored.encoding == "rows" or values is None:
            values = centred(rows.logits)
            anchors = anchors - rows.logits.max(axis=-1).reshape(-1)
        values = values.reshape(len(anchors), -1)
        if self._keeper is None:
            self._keeper = Keeper(self._stored, self._positions, values.shape[1])
        compared = None if self._compared is None else self._compared[begin : begin + len(anchors)]
        tiles = self._keeper.keep(begin, values, compared)
        return {
            "kl_nats": np.full(len(anchors), np.inf)
            if tiles is None
            else _divergence(tiles, anchors, rows, compared, team),
            "anchors": anchors,
            "tops": rows.tops(),
            "top_logprobs": rows.top_logprobs(),
        }


class Scorer:
    """Walks the windows of one request through a runtime."""

    def __init__(self, runtime: LogitsScorer, request: ScoreRequest) -> None:
        self._runtime, self._request = runtime, request
        self._comparing = comparing(request)
        self._decode_s = 0.0

    def score(self, progress: Progress) -> dict[str, Any]:
        """The samples in the order of the windows.

        nll_nats of every scored token; of the kept ones kl_nats, and same_top or what the reference
        is kept with.
        """
        total = len(self._request.windows)
        parts: list[dict[str, np.ndarray]] = []
        with ThreadTeam() as team:
            progress("scoring", 0, total)
            for place, rows in self._rows(team):
                parts.append(self._samples(place, rows, team))
                progress("scoring", place.window + len(rows.logits), total)
        names = parts[0].keys()
        samples = {
            name: np.concatenate([part[name] for part in parts if name in part])
            for name in names  # of the very first row, which is always kept
        }
        return {**samples, "decode_s": self._decode_s}

    def _samples(self, place: _Place, rows: Rows, team: ThreadTeam) -> dict[str, np.ndarray]:
        """The samples of one part, compared in one go: the matrix is read once."""
        request = self._request
        samples = {"nll_nats": self._likelihoods(place, rows).reshape(-1)}
        if self._comparing is None or request.stored is None:
            return samples
        stride = request.stored.stride
        kept = rows.every(stride, -place.row % stride)
        if not kept.normalizers.size:
            return samples
        begin = place.window * request.kept_per_window + place.kept(stride)
        return {**samples, **self._comparing.compare(begin, kept, team)}

    def _likelihoods(self, place: _Place, rows: Rows) -> np.ndarray:
        first, (windows, count) = self._request.first + place.row, rows.normalizers.shape
        targets = self._request.windows[place.window : place.window + windows]
        nll = reductions.negative_log_likelihood(
            rows.logits, rows.normalizers, targets[:, first + 1 : first + 1 + count]
        )
        if not np.isfinite(nll).all():
            window, row = np.argwhere(~np.isfinite(nll))[0].tolist()
            place_of_it = f"window {place.window + window}, position {first + row}"
            raise MeasurementError(f"logits are not finite: {place_of_it}")
        return nll

    @property
    def _is_reference(self) -> bool:
        return self._request.stored is not None and self._request.anchors is None

    def _rows(self, team: ThreadTeam) -> Iterator[tuple[_Place, Rows]]:
        """What the runtime says at the scored positions of the windows, part by part.

        The last row of a window is left out: what it predicts is not in the window.
        """
        wanted, done = self._request.scored_per_window, 0
        for logits, hidden in self._decoded():
            windows, count = logits.shape[:2]
            place = _Place(window=done // (wanted + 1), row=done % (wanted + 1))
            done += windows * count
            is_whole = place.row == 0 and count == wanted + 1
            if not (is_whole or (windows == 1 and place.row + count <= wanted + 1)):
                raise lost_rows(place.row or count, wanted + 1)
            if scored := min(count, wanted - place.row):
                told = logits[:, :scored]
                yield (
                    place,
                    Rows(
                        logits=told,
                        hidden=None if hidden is None else hidden[:, :scored],
                        normalizers=reductions.log_normalizers(told, team),
                    ),
                )
        if done != len(self._request.windows) * (wanted + 1):
            raise lost_rows(done, len(self._request.windows) * (wanted + 1))

    def _decoded(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Logits, and hidden states of the reference, as the runtime hands them out."""
        request = self._request
        parts = iter(
            self._runtime.logits_of_windows(
                request.windows, request.first, with_hidden=self._is_reference
            )
        )
        while True:
            started = time.perf_counter()
            part = next(parts, None)
            self._decode_s += time.perf_counter() - started
            if part is None:
                return
            yield part


def lost_rows(got: int, expected: int) -> MeasurementError:
    return MeasurementError(f"lost samples: got {got} rows of logits; expected {expected}")


def comparing(request: ScoreRequest) -> Comparing | None:
    """What a request's kept rows are to be given to; None: nobody compares them."""
    if request.stored is None:
        return None
    if request.anchors is None or request.tops is None:
        positions = len(request.windows) * request.kept_per_window
        return _KeepingReference(request.stored, positions, request.compared)
    if request.stored.encoding == "top_k":
        from qgate.runtimes.worker.logprob_scoring import TopRowsOfReference

        positions = len(request.windows) * request.kept_per_window
        return TopRowsOfReference(request.stored, positions, request.tops)
    return _AgainstReference(request.stored, request.anchors, request.tops, request.compared)
