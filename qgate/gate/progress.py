"""Says what is running while long work runs: one live line on a terminal, few lines in a log.

On a terminal the live line is the one below pytest's own, and the cursor goes back to where pytest
left it: its line of dots, or `test.py::test_name ` with -v, stays whole and keeps its colours.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOG_EVERY_S = 30.0
REDRAW_EVERY_S = 0.1
_WIPE = "\x1b[K"
_UP = "\x1b[1A"


class ProgressLine:
    """Rewrites the line below pytest's on a terminal; writes a line every half minute elsewhere.

    Args:
        write: puts text out at once, past pytest's capturing and its account of the line.
        is_terminal: whether a line can be rewritten.
        width: columns of the terminal.
        column: says where pytest's own line ends, in columns from 0.
        overall: says how far the whole run is, e.g. `41 %, about 3 min left`; empty where nobody
            knows.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        is_terminal: bool,
        width: int,
        column: Callable[[], int] = lambda: 0,
        overall: Callable[[], str] = str,
    ) -> None:
        self._write, self._is_terminal = write, is_terminal
        self._columns = max(width - 1, 0)  # the last one would break the line
        self._column, self._overall = column, overall
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
        overall = self._overall()
        line = f"qgate: {f'{overall}: ' if overall else ''}{self._subject}: {what}{share}"
        line += f", {now - self._started:.0f} s"
        if self._is_terminal:
            self._draw(line[: self._columns])
            self._is_drawn = True
        else:
            self._write(line + "\n")

    def end(self) -> None:
        """Wipe the live line; the cursor is where pytest left it."""
        if self._is_drawn:
            self._draw("")
            self._is_drawn = False

    def _draw(self, text: str) -> None:
        """Replace the line below; at the bottom of the screen a new line scrolls it into view."""
        column = self._column()
        back = f"\x1b[{column}C" if column else ""
        self._write(f"\n\r{text}{_WIPE}{_UP}\r{back}")
