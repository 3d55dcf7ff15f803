"""How long a child is waited for: deadlines by a clock that does not run while nobody does."""

from __future__ import annotations

import time

SILENCE_S = 60.0
"""The child's heartbeat comes every second; none for so long means that it is frozen."""
LOOK_S = 1.0
"""How often a silent child is looked at: what it started can hold its pipes open after its end."""
_STALLS_OF_A_CALL = 24
"""A call may take so many times what it may take without progress, and `_TOKEN_S` a token: enough
for a model that is loaded over a network, or read from a disk again and again."""
_TOKEN_S = 1.0


class Patience:
    """The deadlines of one call.

    There is a look once a second, and for each of them the clock goes on by a second at most. One
    that comes later shows that this process did not run either: with the pause of a container, a
    virtual machine or a terminal the child is not charged, however long it was. A child that alone
    is stopped has no excuse.

    Args:
        stall_s: no progress for so long ends the call.
        tokens: how many are asked for; the whole call may take longer with each.
    """

    def __init__(self, stall_s: float, tokens: int) -> None:
        self._stall_s, self._silence_s = stall_s, min(stall_s, SILENCE_S)
        self._whole_s = _STALLS_OF_A_CALL * stall_s + _TOKEN_S * tokens
        self._looked_at, self._now_s = time.monotonic(), 0.0
        self._heard_s = self._progressed_s = 0.0

    def heard(self) -> None:
        """The child said something, whatever it was."""
        self._heard_s = self._now_s

    def progressed(self) -> None:
        """The child has come further than it was."""
        self._progressed_s = self._now_s

    def wait_s(self) -> float:
        """How long may be waited for a word until the next look."""
        left = (
            self._progressed_s + self._stall_s,
            self._heard_s + self._silence_s,
            self._whole_s,
            self._now_s + LOOK_S,
        )
        return max(min(left) - self._now_s, 0.0)

    def look(self) -> None:
        """The clock goes on: a wait has ended."""
        now = time.monotonic()
        self._now_s += min(now - self._looked_at, LOOK_S)
        self._looked_at = now

    def run_out(self, verb: str) -> str:
        """Why the child is not waited for any more; empty where it still is."""
        if self._now_s >= self._progressed_s + self._stall_s:
            return f"no progress in {verb} for {self._stall_s:g} s"
        if self._now_s >= self._heard_s + self._silence_s:
            return f"no sign of life in {verb} for {self._silence_s:g} s"
        if self._now_s >= self._whole_s:
            return f"no end of {verb} within {self._whole_s:g} s"
        return ""
