"""Rows over the whole vocabulary, taken where an engine computes them, and reduced on the spot.

An engine that serves reads many prompts at once and in parts, in an order of its own. A `Watch`
knows which window each row is of, compares it with the reference as `qgate.runtimes.worker.scoring`
does, and keeps a few numbers of it. Runs where the logits are: they go nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.worker import reductions
from qgate.runtimes.worker.scoring import Rows, comparing

if TYPE_CHECKING:
    from qgate.runtimes.worker.scoring import ScoreRequest
    from qgate.runtimes.worker.threads import ThreadTeam


class Watch:
    """What comes of the rows of one request's windows."""

    def __init__(self, request: ScoreRequest, team: ThreadTeam) -> None:
        self._request, self._team = request, team
        self._comparing = comparing(request)
        self._stride = request.stored.stride if request.stored else 1
        self._count = len(request.windows) * request.kept_per_window
        self._is_taken = np.zeros(self._count, dtype=bool)
        self._found: dict[str, np.ndarray] = {}

    @property
    def wants_states(self) -> bool:
        """Whether the reference's final hidden states are to be kept."""
        stored = self._request.stored
        return stored is not None and self._request.anchors is None and stored.encoding == "hidden"

    def wanted(self, position: int, count: int) -> slice:
        """Which of `count` rows are kept; the first of them lies at `position` of a window."""
        request = self._request
        start = max(0, request.first - position)
        start += (request.first - position - start) % self._stride
        stop = min(count, request.windows.shape[1] - 1 - position)
        return slice(start, max(start, stop), self._stride)

    def take(
        self, window: int, position: int, logits: np.ndarray, states: np.ndarray | None
    ) -> None:
        """Reduce some rows that are kept, one after the other of one window.

        Args:
            window: its number.
            position: of the first of them in the window.
            logits: shape (rows, n_vocab), float32.
            states: final hidden states, shape (rows, width), float32; None where none are wanted.

        Raises:
            MeasurementError: what the reference or its store is at fault for.
        """
        request, count = self._request, len(logits)
        begin = window * request.kept_per_window + (position - request.first) // self._stride
        rows = Rows(
            logits=logits[None],
            hidden=None if states is None else states[None],
            normalizers=reductions.log_normalizers(logits[None], self._team),
        )
        targets = request.windows[window, position + 1 :: self._stride][:count]
        nll = reductions.negative_log_likelihood(rows.logits, rows.normalizers, targets[None])
        values = {"own_nll_nats": nll.reshape(-1)}
        if self._comparing is not None:
            values |= self._comparing.compare(begin, rows, self._team)
        for name, value in values.items():
            if name not in self._found:
                self._found[name] = np.zeros(self._count, dtype=value.dtype)
            self._found[name][begin : begin + count] = value
        self._is_taken[begin : begin + count] = True

    def found(self) -> dict[str, np.ndarray]:
        """One number of each kind for each kept position.

        Raises:
            MeasurementError: some rows never came.
        """
        if not self._is_taken.all():
            raise MeasurementError(
                f"lost samples: got {self._is_taken.sum()} rows; expected {self._count}"
            )
        return self._found
