"""How far a run is, and how long it still takes: what was expected against what was spent.

Phases are those of `qgate.runtimes.served_model.ServedModel`: `load`, `perplexity`, the first row
of each probe, `latency`, `memory`. A phase is over when another of the same model begins, which
costs nothing to know; one that stopped early is then done, however much of it was expected.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_SLOWEST, _FASTEST = 3.0, 1 / 3
"""A few first seconds do not say more about the rest of a run than this."""
_LEAST_S = 5.0
"""So much has to be spent before the pace of a run says anything."""

Phase = tuple[str, str]
"""The model (`reference NAME`, or the artifact's id) and what is done with it."""


class RunClock:
    """Counts what is spent in each phase; asked for the whole, it says how far that is."""

    def __init__(self, expected_s: Mapping[Phase, float] | None = None) -> None:
        self._expected_s = dict(expected_s or {})
        self._spent_s: dict[Phase, float] = {}
        self._current: dict[str, str] = {}
        self._open: list[Phase] = []
        self._since_s = 0.0

    def expect(self, expected_s: Mapping[Phase, float]) -> None:
        """Go by these seconds of every phase that the run will come to."""
        self._expected_s = dict(expected_s)

    def begin(self, model: str, phase: str) -> None:
        """A phase begins or goes on; one that is open meanwhile goes on when it ends."""
        self._open.append((model, phase))
        self._enter((model, phase))

    def end(self, model: str, phase: str, seconds: float) -> None:
        """A phase ends, or another goes on; the seconds are its own."""
        self._spent_s[model, phase] = self._spent_s.get((model, phase), 0.0) + seconds
        if (model, phase) in self._open:
            self._open.remove((model, phase))
        if self._open:
            self._enter(self._open[-1])

    def _enter(self, phase: Phase) -> None:
        self._spent_s.setdefault(phase, 0.0)
        self._current[phase[0]] = phase[1]
        self._since_s = time.monotonic()

    def close(self, model: str) -> None:
        """Nothing more is asked of a model: what was expected and never came is not waited for."""
        self._current.pop(model, None)
        for phase in self._expected_s:
            if phase[0] == model:
                self._spent_s.setdefault(phase, 0.0)

    def left_s(self) -> float:
        """Seconds that the run still takes, at its own pace so far."""
        return sum(self._left_s(phase) for phase in self._expected_s) * self._pace()

    def describe(self) -> str:
        """`41 %, about 3 min left`; empty where nothing was expected."""
        if not self._expected_s:
            return ""
        spent, left = sum(self._spent_s.values()) + self._running_s(), self.left_s()
        share = spent / (spent + left) if spent + left else 1.0
        return f"{share * 100:.0f} %, {in_words(left)} left"

    def _running_s(self) -> float:
        return time.monotonic() - self._since_s if self._open else 0.0

    def _left_s(self, phase: Phase) -> float:
        expected = self._expected_s[phase]
        if phase not in self._spent_s:
            return expected
        if self._current.get(phase[0]) != phase[1]:
            return 0.0
        running = self._running_s() if self._open and self._open[-1] == phase else 0.0
        return max(expected - self._spent_s[phase] - running, 0.0)

    def _pace(self) -> float:
        """What phases that are over took, over what they were expected to take."""
        over = [
            phase
            for phase in self._spent_s
            if phase in self._expected_s and self._current.get(phase[0]) != phase[1]
        ]
        spent = sum(self._spent_s[phase] for phase in over)
        if spent < _LEAST_S:
            return 1.0
        expected = sum(self._expected_s[phase] for phase in over)
        return min(max(spent / max(expected, 1e-9), _FASTEST), _SLOWEST)


def in_words(seconds: float) -> str:
    """`about 95 s`, `about 3 min`, `about 2 h 10 min`."""
    if seconds < 98:
        return f"about {max(5 * round(seconds / 5), 5)} s"
    minutes = max(round(seconds / 60), 1)
    if minutes < 90:
        return f"about {minutes} min"
    hours, rest = divmod(10 * round(minutes / 10), 60)
    return f"about {hours} h" + (f" {rest} min" if rest else "")


@dataclass(frozen=True, slots=True)
class ModelWatch:
    """Tells a clock of the phases of one model, as `qgate.runtimes.served_model.PhaseWatch`."""

    clock: RunClock
    model: str

    def begin(self, phase: str) -> None:
        """It begins, or goes on."""
        self.clock.begin(self.model, phase)

    def end(self, phase: str, seconds: float) -> None:
        """It ends, or another goes on."""
        self.clock.end(self.model, phase, seconds)
