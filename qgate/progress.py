"""Says what is running while long work runs: one live line on a terminal, few lines in a log."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_EVERY_S = 30.0
REDRAW_EVERY_S = 0.1


class ProgressLine:
    """Rewrites one line on a terminal; writes a plain line every half minute elsewhere.

    Args:
        write: puts text out at once, past pytest's capturing.
        is_terminal: whether a line can be rewritten.
        width: columns of the terminal.
    """

    def __init__(self, write: Callable[[str], None], *, is_terminal: bool, width: int) -> None:
        self._write, self._is_terminal = write, is_terminal
        self._columns = max(width - 1, 0)  # the last one would break the line
        self._subject, self._started, self._shown = "", 0.0, 0.0
        self._is_drawn = False

    def begin(self, subject: str) -> None:
        """Name what the following steps belong to, and start its clock."""
        self._subject = subject
        self._started = self._shown = time.monotonic()

    def step(self, what: str, done: int, total: int) -> None:
        """Tell how far it is; cheap to call often."""
        now = time.monotonic()
        if now - self._shown < (REDRAW_EVERY_S if self._is_terminal else LOG_EVERY_S):
            return
        self._shown = now
        share = f" {done}/{total}" if total else ""
        line = f"qgate: {self._subject}: {what}{share}, {now - self._started:.0f} s"
        if self._is_terminal:
            self._write("\r" + line[: self._columns].ljust(self._columns))
            self._is_drawn = True
        else:
            self._write(line + "\n")

    def end(self) -> None:
        """Wipe the live line, so that what comes next starts on a clean one."""
        if self._is_drawn:
            self._write("\r" + " " * self._columns + "\r")
            self._is_drawn = False
