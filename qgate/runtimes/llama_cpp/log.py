"""llama.cpp's log, kept instead of printed: why a call failed, and what memory it took."""

from __future__ import annotations

import contextlib
import ctypes
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_WARN_LEVEL, _ERROR_LEVEL = 3, 4
_CONTINUES = 5


class LlamaLog:
    """Receives the log of the whole process; the library keeps only a pointer to it."""

    def __init__(self, lib: Any) -> None:  # noqa: ANN401 - the module
        self._troubles: deque[tuple[int, str]] = deque(maxlen=50)
        self._recording: list[str] | None = None
        callback = lib.llama_log_callback(self._receive)
        # the library may call it as long as the process lives: never freed
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(callback))
        lib.llama_log_set(callback, ctypes.c_void_p(0))

    def clear(self) -> None:
        self._troubles.clear()

    @contextlib.contextmanager
    def recorded(self) -> Iterator[list[str]]:
        """Everything that is logged while the block runs, of any level."""
        lines: list[str] = []
        self._recording = lines
        try:
            yield lines
        finally:
            self._recording = None

    def reason(self) -> str:
        """The first error since `clear`: those after it say less and less."""
        lines = [line for level, line in self._troubles if level >= _ERROR_LEVEL] or [
            line for _, line in self._troubles
        ]
        return one_line(lines[0]) if lines else "no reason given"

    def _receive(self, level: int, text: bytes, _: object) -> None:
        line = text.decode(errors="replace").strip()
        if not line:
            return
        if self._recording is not None:
            self._recording.append(line)
        if level >= _WARN_LEVEL and level != _CONTINUES:
            self._troubles.append((level, line))


def one_line(text: object) -> str:
    return " ".join(str(text).split())[:300]
