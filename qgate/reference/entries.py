"""Entries of a store on disk: put in place whole, read only where every byte is what was signed.

An entry is a directory with files and `entry.json`, which holds the files' digests and a signature
over them, over itself and over the entry's name. No link is followed, and a file that is not among
the signed ones makes it no entry.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import json
import os
import shutil
import stat
from typing import TYPE_CHECKING, Any

from qgate.untrusted.files import NO_FILE, open_unlinked
from qgate.untrusted.locks import open_to_lock, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qgate.reference.signing import Key

LOCK_DEADLINE_S = 120.0
"""Who holds the lock of a store longer than this is stopped or hangs: he holds it to read one
entry."""
FACTS = "entry.json"
_MOST_FACTS_BYTES = 64 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def read_entry(place: Path, key: Key) -> dict[str, Any] | None:
    """The entry, if it is there and every byte is what was signed; else it is measured again.

    Raises:
        OSError: it cannot be read, which says nothing about what it holds.
    """
    try:
        with _directory(place) as within:
            with os.fdopen(open_unlinked(FACTS, within=within), "rb") as file:
                text = file.read(_MOST_FACTS_BYTES).decode()
            entry: dict[str, Any] = json.loads(text)
            signed = _render(entry, place.name, key)
            if not hmac.compare_digest(text.encode(), signed.encode()):
                return None
            arrays = entry["arrays"]
            is_whole = set(_names(within)) == {FACTS, *arrays} and all(
                _sha256(name, within) == want for name, want in arrays.items()
            )
    except OSError as error:
        if error.errno not in NO_FILE:
            raise
        return None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return entry if is_whole else None


def write_entry(work: Path, name: str, facts: dict[str, Any], key: Key) -> None:
    """Write `entry.json` beside the files that lie in `work`, for an entry of that name."""
    with _directory(work) as within:
        arrays = {file: _sha256(file, within) for file in sorted(_names(within))}
    with (work / FACTS).open("x", encoding="utf-8") as file:
        file.write(_render({**facts, "arrays": arrays}, name, key))
        file.flush()
        os.fsync(file.fileno())


def put_in_place(work: Path, place: Path, key: Key) -> dict[str, Any]:
    """Give a finished entry its name, and return the one that now has it.

    An intact one that is there already stays: the run that wrote it may be reading it. Whoever puts
    is `alone_in` the store; otherwise one would take away as damaged what another has just mended.

    Raises:
        OSError: the store cannot be written to.
    """
    entry = read_entry(place, key)
    if entry is None:
        _remove(place)
        _share(work)
        work.replace(place)
        entry = read_entry(place, key)
    if entry is None:
        raise OSError(errno.EIO, "what was written cannot be read again")
    return entry


@contextlib.contextmanager
def alone_in(store: Path, patience_s: float = LOCK_DEADLINE_S) -> Iterator[None]:
    """Keep other threads and processes out; the lock goes with the process that holds it.

    Args:
        store: the directory.
        patience_s: so long is waited for whoever is in there.

    Raises:
        TimeoutError: somebody else holds it for longer; says who.
        OSError: there can be no lock.
    """
    with contextlib.ExitStack() as stack:
        lock = open_to_lock(store / ".lock", os.O_CREAT)
        stack.callback(os.close, lock)
        try:
            wait_for(lock, patience_s)
        except BlockingIOError:
            raise TimeoutError(errno.ETIMEDOUT, f"its lock is {_holder(lock)}") from None
        _sign(lock, f"{os.getpid()}\n")
        stack.callback(_sign, lock, "")  # the next may be one who cannot write here
        yield


def _sign(lock: int, holder: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, or another user's file
        if os.fstat(lock).st_nlink == 1:  # else its other name may be anybody's file
            os.ftruncate(lock, 0)
            os.pwrite(lock, holder.encode(), 0)


def _holder(lock: int) -> str:
    written = os.pread(lock, 20, 0).split()
    is_known = len(written) == 1 and written[0].isdigit()
    return f"held by process {int(written[0])}" if is_known else "held by another process"


@contextlib.contextmanager
def _directory(place: Path) -> Iterator[int]:
    """A descriptor of it; a link in its place is none."""
    opened = os.open(place, _DIRECTORY)
    try:
        yield opened
    finally:
        os.close(opened)


def _names(within: int) -> Iterator[str]:
    with os.scandir(within) as listing:
        yield from (entry.name for entry in listing)


def _share(work: Path) -> None:
    """Give it the mode that the umask lets it have: it was made for its maker alone."""
    of_files = (work / FACTS).stat().st_mode & 0o666
    # a directory's set-group-ID has what is made below belong to its group
    work.chmod(work.stat().st_mode & stat.S_ISGID | of_files | (of_files & 0o444) >> 2)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _render(entry: dict[str, Any], name: str, key: Key) -> str:
    body = {fact: value for fact, value in entry.items() if fact != "signature"}
    signature = key.sign(name, json.dumps(body, sort_keys=True, allow_nan=False))
    return json.dumps({**body, "signature": signature}, indent=1, sort_keys=True)


def _sha256(name: str, within: int) -> str:
    with os.fdopen(open_unlinked(name, within=within), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
