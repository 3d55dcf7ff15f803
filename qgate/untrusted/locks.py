"""Locks of files: had within a time or not at all, and gone with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from typing import TYPE_CHECKING

from qgate.untrusted.files import open_unlinked

if TYPE_CHECKING:
    from pathlib import Path

LEFT_OVER_AFTER_S = 24 * 3600.0
"""Where a lock says nothing: what is worked in does not get as old."""
_LOOK_AGAIN_S = 0.05
_NOT_TO_BE_WRITTEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def open_to_lock(path: Path, flags: int = 0) -> int:
    """A descriptor to be locked, to be written to where that may be.

    NFS gives a lock for oneself alone to none but who may write; elsewhere who reads gets it, too.

    Args:
        path: the file; no link there is followed.
        flags: more of `os.open`.

    Raises:
        OSError: it cannot even be read, or is no file.
    """
    try:
        return open_unlinked(path, os.O_RDWR | flags)
    except OSError as refused:
        if refused.errno not in _NOT_TO_BE_WRITTEN:
            raise
        try:
            return open_unlinked(path)
        except FileNotFoundError:  # nor can it be made
            raise refused from None


def wait_for(lock: int, patience_s: float) -> None:
    """Have the lock for oneself.

    Raises:
        BlockingIOError: somebody else holds it for longer.
        OSError: there can be no lock.
    """
    until = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_S)
        except OSError as error:
            raise OSError(error.errno, f"it cannot be locked: {error.strerror}") from error
        else:
            return


def is_free(lock: int) -> bool:
    """Whether nobody holds it; where there are no locks, whether it was left alone for a day."""
    try:
        wait_for(lock, 0.0)
    except BlockingIOError:
        return False
    except OSError:
        return is_old(lock)
    return True


def is_old(opened: int) -> bool:
    """Whether nothing was written there for so long that nobody works with it any more."""
    return time.time() - os.fstat(opened).st_mtime > LEFT_OVER_AFTER_S
