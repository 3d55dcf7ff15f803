"""Lines of a child that wait to be read: bounded in bytes, each of them and all together."""

from __future__ import annotations

import threading
from collections import deque
from typing import IO

MIB = 2**20
LINE_BYTES = 4 * MIB
"""Of an answer that names no tokens; messages that nobody reads yet take as much together."""
_TOKEN_BYTES = 512
"""Of an answer, for each token that was asked for. What is told of one takes 60 bytes at most, as
base64; the text of an answer is longer only where all tokens are the longest of their vocabulary.
"""
_PIECE_BYTES = 2**16
_OVERHEAD_BYTES = 64
"""Of a waiting line, beside its own bytes."""


class Inbox:
    """What a child sent and nobody has read. Who fills it waits for room, and so the child does."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._line_bytes = LINE_BYTES
        self._state = threading.Condition()
        self._ended = self._closed = False
        self.refused = ""
        """What was too much, after which nothing more is read."""

    def expect(self, tokens: int) -> None:
        """What comes now may be as long as an answer about so many tokens."""
        with self._state:
            self._line_bytes = LINE_BYTES + _TOKEN_BYTES * tokens

    def get(self, wait_s: float) -> bytes | None:
        """The next line; empty if none came meanwhile, None at the end."""
        with self._state:
            self._state.wait_for(lambda: self._lines or self._ended, wait_s)
            if not self._lines:
                return None if self._ended else b""
            line = self._lines.popleft()
            self._waiting_bytes -= len(line) + _OVERHEAD_BYTES
            self._state.notify_all()
            return line

    def fill(self, stream: IO[bytes]) -> None:
        """Read a stream to its end, or to a line that is too long."""
        with stream:
            while (line := self._read_line(stream)) and self._put(line):
                pass
            with self._state:
                self._ended = True
                self._state.notify_all()
                # whoever closes it ends the child first, which has no last words about its pipe
                self._state.wait_for(lambda: self._closed or not self.refused)

    def close(self) -> None:
        """Nobody reads any more."""
        with self._state:
            self._closed = True
            self._state.notify_all()

    def _read_line(self, stream: IO[bytes]) -> bytes:
        pieces, size = [], 0
        while piece := stream.readline(_PIECE_BYTES):
            pieces.append(piece)
            size += len(piece)
            if size > self._line_bytes:
                self.refused = f"a line of more than {self._line_bytes // MIB} MiB"
                return b""
            if piece.endswith(b"\n"):
                return b"".join(pieces)
        return b""  # whoever wrote this ended before the line did

    def _put(self, line: bytes) -> bool:
        size = len(line) + _OVERHEAD_BYTES
        with self._state:
            self._state.wait_for(lambda: self._has_room(size) or self._closed)
            if self._closed:
                return False
            self._lines.append(line)
            self._waiting_bytes += size
            self._state.notify_all()
            return True

    def _has_room(self, size: int) -> bool:
        return not self._lines or self._waiting_bytes + size <= LINE_BYTES
