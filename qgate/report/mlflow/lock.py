"""One process at a time: a lock that goes with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOK_AGAIN_S = 0.1
_MOST_DIGITS = 20


@contextlib.contextmanager
def alone(path: Path, deadline_s: float) -> Iterator[None]:
    """Keep other processes out; the lock is a file that is removed with it.

    Args:
        path: the file; a link there is not followed, and nothing that lies there is overwritten
            before it is locked.
        deadline_s: how long to wait for who holds it.

    Raises:
        TimeoutError: it is held for longer; the message names the process.
        OSError: there can be no such file.
    """
    lock = _take(path, time.monotonic() + deadline_s, deadline_s)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield
    finally:
        # while it is held: who waits for it finds that its file is gone, and takes a new one
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(lock)


def remove_left_over(path: Path) -> None:
    """Remove the lock of a process that was killed; one that is held stays."""
    if path.exists():
        with contextlib.suppress(OSError), alone(path, 0):
            pass


def _take(path: Path, until: float, deadline_s: float) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        lock = os.open(path, flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = _is_at(path, lock)
        except BlockingIOError:
            is_ours = False
            if time.monotonic() > until:
                holder = os.pread(lock, _MOST_DIGITS, 0).decode("ascii", "replace")
                os.close(lock)
                process = f"process {holder}" if holder.isdigit() else "another process"
                raise TimeoutError(f"{process} holds {path} for over {deadline_s:g} s") from None
        except OSError:
            os.close(lock)
            raise
        if is_ours:
            return lock
        os.close(lock)
        time.sleep(_LOOK_AGAIN_S)


def _is_at(path: Path, lock: int) -> bool:
    """Whether the file that was locked is still the one that others will open."""
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(lock))
    return False
