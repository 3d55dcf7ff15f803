"""Folders that one process works in: gone when it ends, swept by the next run where it was killed.

Who makes one holds a lock on it for as long as it lives; the lock of a killed process is free. So
what can be locked is a left-over, however new it is, and what cannot is in use, however old.

Locks of folders are of one machine alone, while it runs: NFS tells no other of them. So the
machine's boot is part of a folder's name, and what lies there under that of another one, or under
none, is a left-over only once it is old as well.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import tempfile
import weakref
from pathlib import Path

from qgate.errors import MeasurementError

_TEMPORARY = re.compile(
    r"qgate-(child|data|probe|store|template|upload)-([0-9a-f]{8}-)?[a-z0-9_]{8}"
)
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class WorkFolder:
    """A new empty folder, this process's own; a context manager that gives its path.

    Args:
        prefix: of its name.
        within: where it lies; None: where temporary files do.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, prefix: str, within: Path | None = None) -> None:
        self.path, held = _make(prefix, within)
        self._remove = weakref.finalize(self, _remove, self.path, held)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove it, with all that lies in it."""
        self._remove()


def temporary_folder(prefix: str, whose: str) -> WorkFolder:
    """A new one where temporary files lie.

    Args:
        prefix: of its name.
        whose: what the message begins with.

    Raises:
        MeasurementError: it cannot be made.
    """
    try:
        return WorkFolder(prefix)
    except OSError as error:
        raise no_room(whose, error) from error


def no_room(whose: str, error: OSError) -> MeasurementError:
    """That nothing can be written where temporary files lie."""
    place = tempfile.tempdir or "a temporary directory"
    return MeasurementError(
        f"{whose}: got no room in {place} ({error.strerror or error}); expected room for a few"
        " files. Free some space, or name another directory with TMPDIR"
    )


def _make(prefix: str, within: Path | None) -> tuple[Path, int]:
    import fcntl  # not on Windows, where the sandbox has to say so

    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{prefix}{_here()}-", dir=within))
        with contextlib.suppress(FileNotFoundError):  # a sweep came before the lock
            held = _open(path)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(held, fcntl.LOCK_EX)
            if path.is_dir():
                return path, held
            os.close(held)


@functools.cache
def _here() -> str:
    """This machine, from its last start on: where locks of folders are known."""
    try:
        name = _BOOT.read_text()
    except OSError:  # not on Linux
        name = platform.node()
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def _remove(path: Path, held: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(held)


def sweep_temporary() -> None:
    """Remove the folders that killed runs left where temporary files lie."""
    with contextlib.suppress(OSError):  # there may be no such place
        sweep(Path(tempfile.gettempdir()), _TEMPORARY)


def sweep(directory: Path, names: re.Pattern[str]) -> None:
    """Remove the user's own folders of these names that nobody holds; no link is followed."""
    with contextlib.suppress(OSError), os.scandir(directory) as listing:
        for entry in listing:
            if names.fullmatch(entry.name):
                with contextlib.suppress(OSError):
                    _remove_left_over(Path(entry.path))


def _remove_left_over(path: Path) -> None:
    from qgate.untrusted.locks import is_free, is_old

    held = _open(path)
    try:
        if os.fstat(held).st_uid != os.geteuid() or not is_free(held):
            return
        if f"-{_here()}-" in path.name or is_old(held):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(held)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
