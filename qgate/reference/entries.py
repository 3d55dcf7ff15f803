"""Entries of the reference store on disk: put in place whole, read only where every byte is intact.

An entry is a directory with files and `entry.json`, which holds the files' digests and its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from typing import TYPE_CHECKING, Any

from qgate.errors import StoreFull

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_DEADLINE_S = 120.0
"""Who holds the lock of a store longer than this is stopped or hangs: he holds it to read one
entry."""
_LOOK_AGAIN_S = 0.05


def read_entry(place: Path) -> dict[str, Any] | None:
    """The entry, if it is there and every byte is what it was; else it is measured again."""
    try:
        text = (place / "entry.json").read_text(encoding="utf-8")
        entry: dict[str, Any] = json.loads(text)
        if text != _render(entry):
            return None
        intact = all(_sha256(place / name) == want for name, want in entry["arrays"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return entry if intact else None


def write_entry(work: Path, facts: dict[str, Any]) -> None:
    """Write `entry.json` beside the files that lie in `work`."""
    arrays = {path.name: _sha256(path) for path in sorted(work.iterdir())}
    with (work / "entry.json").open("w", encoding="utf-8") as file:
        file.write(_render({**facts, "arrays": arrays}))
        file.flush()
        os.fsync(file.fileno())


def put_in_place(work: Path, place: Path) -> dict[str, Any]:
    """Give a finished entry its name, and return the one that now has it.

    An intact one that is there already stays: the run that wrote it may be reading it. Runs that
    put at the same time wait for each other; without, one would take away as damaged what another
    has just mended.

    Raises:
        StoreFull: the store cannot be written to, or not be locked.
    """
    entry = None
    with contextlib.suppress(OSError), alone_in(place.parent):
        entry = read_entry(place)
        if entry is None:
            _remove(place)
            work.replace(place)
            entry = read_entry(place)
    if entry is None:
        raise StoreFull(f"{place}: cannot be put into the store: not writable, or not lockable")
    return entry


@contextlib.contextmanager
def alone_in(store: Path) -> Iterator[None]:
    """Keep other threads and processes out; the lock goes with the process that holds it.

    Raises:
        OSError: there can be no lock, or somebody else holds it for too long.
    """
    # a link there would have another file opened, and nothing is to be written anyway
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(store / ".lock", flags, 0o666)
    try:
        _wait_for(lock)
        yield
    finally:
        os.close(lock)


def _wait_for(lock: int) -> None:
    until = time.monotonic() + LOCK_DEADLINE_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(_LOOK_AGAIN_S)
        else:
            return


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def _render(entry: dict[str, Any]) -> str:
    body = {name: value for name, value in entry.items() if name != "digest"}
    text = json.dumps(body, sort_keys=True, allow_nan=False)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps({**body, "digest": digest}, indent=1, sort_keys=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
