"""llama.cpp's log for the length of a call: its last line is the reason of a failure."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def captured() -> Iterator[list[str]]:
    """Collect llama.cpp's log lines instead of printing them; then put the old log back."""
    import llama_cpp

    lines: list[str] = []

    def keep(_level: int, text: bytes, _data: ctypes.c_void_p) -> None:
        lines.append(text.decode("utf-8", "replace").strip())

    callback = llama_cpp.llama_log_callback(keep)
    before, data = llama_cpp.llama_log_callback(), ctypes.c_void_p()
    llama_cpp.llama_log_get(ctypes.pointer(before), ctypes.pointer(data))
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield lines
    finally:
        llama_cpp.llama_log_set(before, data)


def reason(lines: list[str]) -> str:
    """Return the last line that says something."""
    return next((line for line in reversed(lines) if line), "no reason given")
