"""Folders that one process works in: gone when it ends, swept by the next run where it was killed.

Who makes one holds a lock on it for as long as it lives; the lock of a killed process is free. So
what can be locked is a left-over, however new it is, and what cannot is in use, however old.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import time
import weakref
from pathlib import Path

_TEMPORARY = re.compile(r"qgate-(child|data|probe|store|template)-[a-z0-9_]{8}")
_LEFT_OVER_AFTER_S = 24 * 3600.0
"""Where a file system has no locks: nothing that is worked in gets as old."""


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


def _make(prefix: str, within: Path | None) -> tuple[Path, int]:
    import fcntl  # not on Windows, where the sandbox has to say so

    while True:
        path = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
        with contextlib.suppress(FileNotFoundError):  # a sweep came before the lock
            held = _open(path)
            with contextlib.suppress(OSError):  # NFS locks no directories
                fcntl.flock(held, fcntl.LOCK_EX)
            if path.is_dir():
                return path, held
            os.close(held)


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
    held = _open(path)
    try:
        found = os.fstat(held)
        if found.st_uid == os.geteuid() and _is_free(held, found.st_mtime):
            shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(held)


def _open(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)


def _is_free(held: int, changed_at: float) -> bool:
    import fcntl

    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return time.time() - changed_at > _LEFT_OVER_AFTER_S
    return True
