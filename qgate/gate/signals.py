"""SIGTERM and SIGHUP end a run like Ctrl-C: the child goes, the partial report stays.

By default Python dies of them at once, without any teardown: CI systems send SIGTERM, and a
terminal that is closed sends SIGHUP.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def interrupt_on_termination() -> Callable[[], None]:
    """Raise KeyboardInterrupt where these signals would kill; return what undoes that."""
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    names = [
        name for name in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(name) is signal.SIG_DFL
    ]
    for name in names:
        signal.signal(name, _interrupt)

    def undo() -> None:
        for name in names:
            signal.signal(name, signal.SIG_DFL)

    return undo


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)
