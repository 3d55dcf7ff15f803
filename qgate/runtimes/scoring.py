"""Scores token windows in the child: per token a negative log-likelihood, and a divergence.

Windows follow llama.cpp's `perplexity` convention: the first half of a window is context, each
token of the second half is scored; the last position predicts nothing that is in the window.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes import reductions
from qgate.runtimes.original import Keeper, Original, Stored, centred

if TYPE_CHECKING:
    from qgate.runtimes.base import Progress, Runtime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """What to score and what to hold it against."""

    windows: np.ndarray
    """Token ids, shape (n, window_tokens), int32."""
    first: int
    """First position whose successor is scored."""
    stored: Stored | None
    """Where the original's distributions are kept; None: likelihoods only."""
    anchors: np.ndarray | None
    """The original's logsumexp at each kept position, as it is kept; None: the original itself is
    scored, and `stored` is to be written."""
    tops: np.ndarray | None
    """The token that the original ranks first at each kept position."""

    @property
    def scored_per_window(self) -> int:
        return int(self.windows.shape[1]) - 1 - self.first

    @property
    def kept_per_window(self) -> int:
        stride = self.stored.stride if self.stored else 1
        return len(range(0, self.scored_per_window, stride))

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ScoreRequest:
        stored = value["stored"]
        return cls(
            windows=np.asarray(value["windows"], dtype=np.int32),
            first=value["first"],
            stored=None if stored is None else Stored.from_json(stored),
            anchors=value["anchors"],
            tops=value["tops"],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The kept rows of one or more windows."""

    begin: int
    """Number of the first among all kept positions."""
    logits: np.ndarray
    hidden: np.ndarray
    """Final hidden states; only while the original is scored, else the normalizers again."""
    normalizers: np.ndarray

    @property
    def span(self) -> slice:
        return slice(self.begin, self.begin + len(self.logits))


class _Comparing(Protocol):
    def compare(self, rows: Rows, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]: ...


class _AgainstOriginal:
    """The artifact's rows against what was kept of the original."""

    def __init__(self, stored: Stored, anchors: np.ndarray, tops: np.ndarray) -> None:
        self._original, self._anchors, self._tops = Original(stored), anchors, tops

    def compare(self, rows: Rows, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        tiles = self._original.tiles(rows.span.start, rows.span.stop)
        anchors = self._anchors[rows.span]
        kl = reductions.divergence(tiles, anchors, rows.logits, rows.normalizers, pool)
        return {"kl_nats": kl, "same_top": rows.logits.argmax(axis=1) == self._tops[rows.span]}


class _KeepingOriginal:
    """The original's rows: kept, and compared with what was kept of them."""

    def __init__(self, stored: Stored, positions: int) -> None:
        self._stored, self._positions = stored, positions
        self._keeper: Keeper | None = None

    def compare(self, rows: Rows, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        if (rows.logits == rows.logits[:, :1]).all():
            raise MeasurementError("the original says nothing: all its logits are equal")
        values, anchors = rows.hidden, rows.normalizers
        if self._stored.encoding == "rows":
            values = centred(rows.logits)
            anchors = anchors - rows.logits.max(axis=1)
        if self._keeper is None:
            self._keeper = Keeper(self._stored, self._positions, values.shape[1])
        tiles = self._keeper.keep(rows.begin, values)
        return {
            "kl_nats": reductions.divergence(tiles, anchors, rows.logits, rows.normalizers, pool),
            "anchors": anchors,
            "tops": rows.logits.argmax(axis=1).astype(np.int32),
        }


class Scorer:
    """Walks the windows of one request through a runtime."""

    def __init__(self, runtime: Runtime, request: ScoreRequest) -> None:
        self._runtime, self._request = runtime, request
        self._comparing = _comparing(request)
        self._decode_s = 0.0

    def score(self, progress: Progress) -> dict[str, Any]:
        """The samples in the order of the windows.

        nll_nats of every scored token; of the kept ones kl_nats, and same_top or what the original
        is kept with.
        """
        started = time.perf_counter()
        total = len(self._request.windows)
        together = 1 if self._is_original else self._runtime.windows_per_call
        parts = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for begin in range(0, total, together):
                progress("scoring", begin, total)
                parts.append(self._windows(begin, min(begin + together, total), pool))
        names = parts[0].keys()
        return {
            **{name: np.concatenate([part[name] for part in parts]) for name in names},
            "digests": window_digests(self._request.windows),
            "total_s": time.perf_counter() - started,
            "decode_s": self._decode_s,
        }

    def _windows(self, begin: int, end: int, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        """The samples of windows begin..end, compared in one go: the matrix is read once."""
        request = self._request
        nll, kept = [], []
        for number, logits, hidden in self._decode(begin, end):
            normalizers = reductions.log_normalizers(logits, pool)
            nll.append(self._likelihoods(number, logits, normalizers))
            if request.stored is not None:
                every = slice(0, None, request.stored.stride)
                states = hidden[every] if self._is_original else normalizers[every]
                kept.append((logits[every], states, normalizers[every]))
        samples = {"nll_nats": np.concatenate(nll)}
        if self._comparing is None:
            return samples
        logits, hidden, normalizers = (_joined(arrays) for arrays in zip(*kept, strict=True))
        rows = Rows(
            begin=begin * request.kept_per_window,
            logits=logits,
            hidden=hidden,
            normalizers=normalizers,
        )
        return {**samples, **self._comparing.compare(rows, pool)}

    def _likelihoods(self, number: int, logits: np.ndarray, normalizers: np.ndarray) -> np.ndarray:
        first = self._request.first
        targets = self._request.windows[number][first + 1 :]
        nll = reductions.negative_log_likelihood(logits, normalizers, targets)
        if not np.isfinite(nll).all():
            bad = int(np.flatnonzero(~np.isfinite(nll))[0]) + first
            raise MeasurementError(f"logits are not finite: window {number}, position {bad}")
        return nll

    @property
    def _is_original(self) -> bool:
        return self._request.stored is not None and self._request.anchors is None

    def _decode(self, begin: int, end: int) -> list[tuple[int, np.ndarray, np.ndarray]]:
        """Number, logits and hidden states of each window, at the scored positions."""
        started = time.perf_counter()
        first, wanted = self._request.first, self._request.scored_per_window
        windows = self._request.windows[begin:end]
        if self._is_original:
            rows = [self._runtime.hidden(ids, first) for ids in windows]
        else:
            together = self._runtime.logits_of_windows(windows, first)
            rows = [(logits, logits) for logits in together]
        self._decode_s += time.perf_counter() - started
        for logits, _ in rows:
            if len(logits) != wanted + 1:
                raise MeasurementError(
                    f"lost samples: got {len(logits)} rows of logits; expected {wanted + 1}"
                )
        return [(begin + at, logits[:-1], hidden[:-1]) for at, (logits, hidden) in enumerate(rows)]


def _joined(arrays: tuple[np.ndarray, ...]) -> np.ndarray:
    """One array of several windows; that of one window is not copied, for it may be large."""
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _comparing(request: ScoreRequest) -> _Comparing | None:
    if request.stored is None:
        return None
    if request.anchors is None or request.tops is None:
        positions = len(request.windows) * request.kept_per_window
        return _KeepingOriginal(request.stored, positions)
    return _AgainstOriginal(request.stored, request.anchors, request.tops)


def window_digests(windows: np.ndarray) -> list[str]:
    """Content digest of each window: what the samples of both sides are paired by."""
    return [hashlib.sha256(row.astype("<i4").tobytes()).hexdigest() for row in windows]
