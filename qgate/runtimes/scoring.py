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
from typing import Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes import reductions
from qgate.runtimes.base import Progress, Runtime
from qgate.runtimes.original import Keeper, Original, Stored


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRequest:
    """What to score and what to hold it against."""

    windows: np.ndarray
    """Token ids, shape (n, window_tokens), int32."""
    first: int
    """First position whose successor is scored."""
    stored: Stored | None
    """Where the original's distributions are kept; None: likelihoods only."""
    keep: bool
    """True while the original itself is scored: write `stored` instead of reading it."""

    @property
    def kept_rows(self) -> slice:
        """Which of a window's scored rows take part in the divergence."""
        return slice(0, None, self.stored.stride if self.stored else 1)

    @property
    def scored_per_window(self) -> int:
        return int(self.windows.shape[1]) - 1 - self.first

    @property
    def kept_per_window(self) -> int:
        return len(range(self.scored_per_window)[self.kept_rows])

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ScoreRequest:
        stored = value["stored"]
        return cls(
            windows=np.asarray(value["windows"], dtype=np.int32),
            first=value["first"],
            stored=None if stored is None else Stored.from_json(stored),
            keep=value["keep"],
        )


def window_digests(windows: np.ndarray) -> list[str]:
    """Content digest of each window: what the samples of both sides are paired by."""
    return [hashlib.sha256(row.astype("<i4").tobytes()).hexdigest() for row in windows]


class Scorer:
    """Walks the windows of one request through a runtime."""

    def __init__(self, runtime: Runtime, request: ScoreRequest) -> None:
        self._runtime, self._request = runtime, request
        self._keeper: Keeper | None = None
        self._original: Original | None = None
        if request.stored is not None and not request.keep:
            self._original = Original(request.stored)
        self._decode_s = 0.0

    def score(self, progress: Progress) -> dict[str, Any]:
        """The samples, in the order of the windows; see `_window` for their meaning."""
        started = time.perf_counter()
        total = len(self._request.windows)
        parts = []
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for number in range(total):
                progress("scoring", number, total)
                parts.append(self._window(number, pool))
        if self._keeper is not None:
            self._keeper.close()
        names = parts[0].keys()
        return {
            **{name: np.concatenate([part[name] for part in parts]) for name in names},
            "digests": window_digests(self._request.windows),
            "total_s": time.perf_counter() - started,
            "decode_s": self._decode_s,
        }

    def _window(self, number: int, pool: ThreadPoolExecutor) -> dict[str, np.ndarray]:
        """One window: nll_nats of every scored token; kl_nats and same_top of the kept ones."""
        request = self._request
        ids = request.windows[number]
        logits, hidden = self._decode(ids)
        normalizers = reductions.log_normalizers(logits, pool)
        targets = ids[request.first + 1 :]
        nll = reductions.negative_log_likelihood(logits, normalizers, targets)
        if not np.isfinite(nll).all():
            bad = int(np.flatnonzero(~np.isfinite(nll))[0]) + request.first
            raise MeasurementError(f"logits are not finite: window {number}, position {bad}")
        if request.stored is None:
            return {"nll_nats": nll}
        begin = number * request.kept_per_window
        rows = request.kept_rows
        kept = np.ascontiguousarray(logits[rows]) if request.stored.stride > 1 else logits
        if request.keep:
            tiles = self._keep(request.stored, begin, kept, hidden[rows])
        else:
            assert self._original is not None
            tiles = self._original.tiles(begin, begin + request.kept_per_window)
        found = reductions.divergence(tiles, kept, normalizers[rows], pool)
        return {"nll_nats": nll, "kl_nats": found.kl_nats, "same_top": found.same_top}

    def _decode(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        started = time.perf_counter()
        request = self._request
        if request.keep:
            logits, hidden = self._runtime.hidden(ids, request.first)
        else:
            logits = hidden = self._runtime.logits(ids, request.first)
        self._decode_s += time.perf_counter() - started
        if len(logits) != request.scored_per_window + 1:
            raise MeasurementError(
                f"lost samples: got {len(logits)} rows of logits;"
                f" expected {request.scored_per_window + 1}"
            )
        return logits[:-1], hidden[:-1]

    def _keep(
        self, stored: Stored, begin: int, logits: np.ndarray, hidden: np.ndarray
    ) -> reductions.OriginalTile:
        if self._keeper is None:
            positions = len(self._request.windows) * self._request.kept_per_window
            values = hidden if stored.encoding == "hidden" else logits
            self._keeper = Keeper(stored, positions, values.shape[1])
        return self._keeper.keep(begin, logits, hidden)
