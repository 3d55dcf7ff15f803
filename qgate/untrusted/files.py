"""Reading the front of a hostile file: forward only, bounded in bytes, every failure one error.

Plain reads and no mmap: a file that is truncated under a mapping ends the process with SIGBUS.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import struct
from typing import TYPE_CHECKING, BinaryIO

from qgate.errors import ArtifactError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from pathlib import Path

MAX_HEADER_BYTES = 128 << 20
"""Eight times the header of a vocabulary of 262,144 tokens with 514,906 merges (16 MB)."""
MAX_STRINGS = 1 << 21
"""Array elements with a length of their own, over the whole header: they cost a step each."""
MAX_ELEMENT_BYTES = 1 << 20
NO_FILE = (
    errno.ENOENT,
    errno.ENOTDIR,
    errno.ELOOP,
    errno.EINVAL,
    errno.ENXIO,
    errno.EISDIR,
)
"""Why `open_unlinked` finds none: nothing is there, or a link, a pipe, a socket, a directory."""
_WINDOW_BYTES = 1 << 18
_U64 = struct.Struct("<Q")


def open_regular(path: Path) -> BinaryIO:
    """Open a file that is a regular one; a FIFO or a device is never opened.

    Raises:
        ArtifactError: it cannot be read, or is something else.
    """
    where = printable(str(path))
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ArtifactError(f"{where}: not a regular file. Refused unopened.")
        # O_NONBLOCK: should a FIFO have taken its place since, open() returns all the same
        file = os.fdopen(os.open(path, os.O_RDONLY | flags), "rb")
    except OSError as error:
        raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    except ValueError as error:  # a NUL byte in the path
        raise ArtifactError(f"{where}: cannot be read: {error}.") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise ArtifactError(f"{where}: not a regular file. Refused.")
    return file


def open_unlinked(path: Path | str, flags: int = os.O_RDONLY, within: int | None = None) -> int:
    """A descriptor of the regular file of that very name: no link in its place is followed.

    Args:
        path: its name; what lies above it may be links.
        flags: of `os.open`; a file that is made can be read and written by all whom the umask lets.
        within: the descriptor of the directory that a relative name is meant in.

    Raises:
        OSError: it cannot be opened, or is a link, a FIFO or a device.
    """
    safe = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(path, safe, 0o666, dir_fd=within)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return opened


class Window:
    """A stretch of the file that moves forward; what lies behind is forgotten."""

    def __init__(self, file: BinaryIO, where: str) -> None:
        self.where = where
        self.file_bytes = os.fstat(file.fileno()).st_size
        self._file = file
        self._buffer = b""
        self._base = 0
        self._at = 0
        self._strings_left = MAX_STRINGS

    @property
    def offset(self) -> int:
        """Where the next byte lies in the file."""
        return self._base + self._at

    @property
    def bytes_left(self) -> int:
        return self.file_bytes - self.offset

    def error(self, problem: str) -> ArtifactError:
        return ArtifactError(f"{self.where}: {problem}")

    def take(self, n_bytes: int, what: str) -> bytes:
        """The next bytes; `what` names them should the file end before."""
        self._need(n_bytes, what)
        taken = self._buffer[self._at : self._at + n_bytes]
        self._at += n_bytes
        return taken

    def unpack(self, form: struct.Struct, what: str) -> int | float:
        """The next scalar."""
        if len(self._buffer) - self._at < form.size:
            self._need(form.size, what)
        (value,) = form.unpack_from(self._buffer, self._at)
        self._at += form.size
        return value  # type: ignore[no-any-return]  # the formats in use are single numbers

    def u64(self, what: str) -> int:
        return int(self.unpack(_U64, what))

    def text(self, what: str, most_bytes: int) -> str:
        """The next string: a length, then UTF-8."""
        length = self.u64(what)
        if length > most_bytes:
            raise self.error(f"{what} is too long: got {length} bytes; expected <= {most_bytes}.")
        return self.decoded(self.take(length, what), what)

    def decoded(self, raw: bytes, what: str) -> str:
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError as error:
            got = f"byte 0x{raw[error.start]:02x} at {error.start}"
            raise self.error(f"{what} is not UTF-8: got {got}.") from error

    def digest(self, n_bytes: int, what: str) -> str:
        """Hash the next bytes, `sha256:...`, without keeping them."""
        self._within(n_bytes, what)
        sha = hashlib.sha256()
        while n_bytes:
            step = min(n_bytes, _WINDOW_BYTES)
            sha.update(self.take(step, what))
            n_bytes -= step
        return f"sha256:{sha.hexdigest()}"

    def digest_strings(self, count: int, what: str, n_first: int) -> tuple[str, tuple[str, ...]]:
        """Hash an array of strings, lengths included; with it its first strings, escaped."""
        self._within(8 * count, what)
        self._strings_left -= count
        if self._strings_left < 0:
            raise self.error(f"{what}: more than {MAX_STRINGS} strings in the header.")
        sha = hashlib.sha256()
        first: list[str] = []
        while count:
            allowed = count if len(first) == n_first else 1
            walked, end = _walk(self._buffer, self._at, allowed)
            if not walked:
                self._need_element(what)
                continue
            raw = self._buffer[self._at : end]
            if len(first) < n_first:
                first.append(raw[8:].decode("utf-8", "backslashreplace"))
            sha.update(raw)
            self._at = end
            count -= walked
        return f"sha256:{sha.hexdigest()}", tuple(first)

    def _need_element(self, what: str) -> None:
        """Have the next string of an array in the buffer as a whole."""
        self._need(8, what)
        (length,) = _U64.unpack_from(self._buffer, self._at)
        self._within(length, f"{what}: an element")
        if length > MAX_ELEMENT_BYTES:
            expected = f"expected <= {MAX_ELEMENT_BYTES}"
            raise self.error(f"{what}: an element is too long: got {length} bytes; {expected}.")
        self._need(8 + length, what)

    def _need(self, n_bytes: int, what: str) -> None:
        if len(self._buffer) - self._at >= n_bytes:
            return
        self._within(n_bytes, what)
        kept = self._buffer[self._at :]
        self._base += self._at
        self._at = 0
        self._buffer = kept + self._file.read(max(n_bytes, _WINDOW_BYTES) - len(kept))
        if len(self._buffer) < n_bytes:
            raise self.error(f"the file became shorter while {what} was read.")

    def _within(self, n_bytes: int, what: str) -> None:
        end = self.offset + n_bytes
        if end > self.file_bytes:
            has = f"the file has {self.file_bytes} bytes"
            raise self.error(f"{what} would end at byte {end}; {has}. Download it again.")
        if end > MAX_HEADER_BYTES:
            expected = f"expected a header of <= {MAX_HEADER_BYTES} bytes"
            raise self.error(f"{what} ends at byte {end}; {expected}.")


def _walk(buffer: bytes, at: int, count: int) -> tuple[int, int]:
    """Step over strings that lie in the buffer: how many, and where the next begins."""
    unpack, size = _U64.unpack_from, len(buffer)
    for walked in range(count):
        if at + 8 > size:
            return walked, at
        following = at + 8 + unpack(buffer, at)[0]
        if following > size:
            return walked, at
        at = following
    return count, at
