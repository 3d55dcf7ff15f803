"""The directory in which measurements are kept: what is found there, what is dropped, what is said.

A store is a help and never a condition. What cannot be read is measured again, what cannot be
written is used all the same and measured again by the next run, and either is said once.

    <store>/<key>/           an entry, see `qgate.reference.entries`
            .lock            held while an entry is put in place, dropped, or noted as in use
            .run-<id>        names of the entries that a running gate uses; locked while it runs
            .measuring-<id>  an entry in the making

When the entries take more than the limit, those that were used the longest time ago are dropped,
but none that a running gate uses. An entry was used when its `entry.json` was last touched.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, StoreFull, UsageError
from qgate.reference.entries import alone_in, put_in_place, read_entry, write_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEFAULT_GIB = 20.0
"""Two references of 70 B parameters with a vocabulary of 128k take about 1 GB each with the default
text; the answers of an artifact take a few MB. A CI cache holds as much."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (*_NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)
_ENTRY_NAME = re.compile(r"[0-9a-f]{32}")
_LEFT_OVER = re.compile(r"\.(measuring|dropped)-.*")
_LEFT_OVER_AFTER_S = 24 * 3600.0
"""No entry takes a day to make; what is older was left by a run that was killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry that was found or made."""

    place: Path
    facts: dict[str, Any]
    was_there: bool


class Store:
    """Entries under one directory; safe for several runs at once."""

    def __init__(self, directory: Path, limit_bytes: float = DEFAULT_GIB * 2**30) -> None:
        self.directory = directory.absolute()  # children work elsewhere
        self._limit_bytes = limit_bytes
        self._notes: dict[str, None] = {}
        self._in_use: set[str] = set()
        self._run: int | None = None
        self._run_path: Path | None = None
        self._spare: Path | None = None
        self._bytes: int | None = None
        self._is_refused = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said at the end of the run, each line once."""
        return tuple(self._notes)

    def find(self, name: str) -> dict[str, Any] | None:
        """The facts of the intact entry of that name; None where there is none."""
        place = self.directory / name
        if not os.path.lexists(place):
            return None
        self._note_use(name)
        facts = read_entry(place)
        if facts is None:
            self._say(f"store: a damaged entry was found and is measured again: {place}")
            return None
        with contextlib.suppress(OSError):
            os.utime(place / "entry.json")
        return facts

    def keep(self, name: str, save: Callable[[Path], dict[str, Any]]) -> None:
        """Write an entry of what is known already; where that fails it is said, and no more.

        Args:
            name: of the entry.
            save: writes files into the directory that it is given and returns the other facts.
        """
        try:
            self._make(self.directory, name, save)
        except (OSError, MeasurementError) as error:
            self._say_not_kept(error)

    def get_or_make(self, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        """The intact entry, made if there is none.

        Where the store cannot be written it is made in a temporary directory, for this run.

        Args:
            name: of the entry.
            make: measures, writes files into the directory that it is given and returns the rest.

        Raises:
            QGateError: what `make` raises.
            MeasurementError: the entry can be written nowhere.
        """
        facts = self.find(name)
        if facts is not None:
            return Entry(place=self.directory / name, facts=facts, was_there=True)
        try:
            return self._make(self.directory, name, make)
        except (OSError, StoreFull) as error:
            if not _is_of_the_disk(error):
                raise
            self._say_not_kept(error)
        if self._spare is None:
            self._spare = Path(tempfile.mkdtemp(prefix="qgate-store-"))
            weakref.finalize(self, shutil.rmtree, self._spare, ignore_errors=True)
        try:
            return self._make(self._spare, name, make)
        except (OSError, StoreFull) as error:
            if not _is_of_the_disk(error):
                raise
            raise MeasurementError(
                f"store: got no room in {self.directory} nor in {self._spare.parent}"
                f" ({_reason(error)}); expected room for one entry. Free some space, or name"
                " another directory with --qgate-store DIR"
            ) from error

    def close(self) -> None:
        """End the use of every entry."""
        if self._run_path is not None:
            self._run_path.unlink(missing_ok=True)
            self._run_path = None
        if self._run is not None:
            os.close(self._run)
            self._run = None
        self._in_use.clear()
        if self._spare is not None:
            shutil.rmtree(self._spare, ignore_errors=True)
            self._spare = None

    # --- entries in the making ----------------------------------------------------------------

    def _make(self, directory: Path, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        directory.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".measuring-", dir=directory))
        try:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            write_entry(work, {**make(work), "measured_at": now})
            if directory == self.directory:
                self._note_use(name)
            facts = put_in_place(work, directory / name)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        if directory == self.directory:
            with contextlib.suppress(OSError):
                self._hold_to_limit(name)
        return Entry(place=directory / name, facts=facts, was_there=False)

    def _say_not_kept(self, error: Exception) -> None:
        if self._is_refused:
            return
        self._is_refused = True
        self._say(
            f"store: {self.directory}: not everything could be kept ({_reason(error)}): the next"
            " run measures it again. Free some space, or name another directory with"
            " --qgate-store DIR"
        )

    def _say(self, note: str) -> None:
        self._notes[note] = None

    # --- entries in use -----------------------------------------------------------------------

    def _note_use(self, name: str) -> None:
        """Keep other runs from dropping the entry; a store that takes no note drops nothing."""
        if name in self._in_use:
            return
        self._in_use.add(name)
        with contextlib.suppress(OSError), alone_in(self.directory):
            if self._run is None:
                self._run, path = tempfile.mkstemp(prefix=".run-", dir=self.directory)
                self._run_path = Path(path)
                fcntl.flock(self._run, fcntl.LOCK_EX)
            os.write(self._run, f"{name}\n".encode())

    def _used_by_others(self) -> set[str]:
        """Names that other running gates use; the notes of those that ended are removed."""
        found: set[str] = set()
        for path in self.directory.glob(".run-*"):
            if path == self._run_path:
                continue
            with contextlib.suppress(OSError), path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                except BlockingIOError:
                    found |= set(file.read().decode(errors="replace").split())
        return found

    # --- the limit ----------------------------------------------------------------------------

    def _hold_to_limit(self, newest: str) -> None:
        if self._bytes is None:
            _remove_left_overs(self.directory)
            self._bytes = sum(size for _, size, _ in _measure_entries(self.directory))
        else:
            self._bytes += _size(self.directory / newest)
        if self._bytes > self._limit_bytes:
            with alone_in(self.directory):
                self._drop_least_used()

    def _drop_least_used(self) -> None:
        in_use = self._in_use | self._used_by_others()
        entries = sorted(_measure_entries(self.directory), key=lambda entry: entry[0])
        total = sum(size for _, size, _ in entries)
        for _, size, place in entries:
            if total <= self._limit_bytes:
                break
            if place.name in in_use:
                continue
            # renamed first: half of an entry never has an entry's name
            dropped = Path(tempfile.mkdtemp(prefix=".dropped-", dir=self.directory))
            place.rename(dropped / place.name)
            shutil.rmtree(dropped, ignore_errors=True)
            total -= size
        self._bytes = total
        if total > self._limit_bytes:
            self._say(
                f"store: {self.directory}: what running gates use takes more than qgate_store_gib ="
                f" {self._limit_bytes / 2**30:g} GiB; it is dropped after them"
            )


def require_usable(directory: Path) -> None:
    """Find out before the run whether measurements can be kept there.

    A full disk is no reason to refuse: what is measured can be judged all the same.

    Raises:
        UsageError: they cannot.
    """
    for path in (directory, *directory.parents):
        if path.is_dir():
            break
        if os.path.lexists(path):
            raise UsageError(
                f"--qgate-store: {path}: got a file; expected a directory. Move it away, or name"
                " another directory with --qgate-store DIR"
            )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        Path(tempfile.mkdtemp(prefix=".measuring-", dir=directory)).rmdir()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise UsageError(
                f"--qgate-store: {directory}: cannot be written ({error.strerror}); expected a"
                " directory in which measurements can be kept. Name another with --qgate-store DIR"
            ) from error


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, StoreFull) or getattr(error, "errno", None) in _NOT_WRITABLE


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _measure_entries(directory: Path) -> Iterator[tuple[float, int, Path]]:
    """(last use, bytes, place) of every entry."""
    for place in directory.iterdir():
        if _ENTRY_NAME.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            try:
                used = (place / "entry.json").stat().st_mtime
            except OSError:
                used = 0.0
            yield used, _size(place), place


def _size(place: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat().st_size for file in os.scandir(place))
    return 0


def _remove_left_overs(directory: Path) -> None:
    """Take away what killed runs left in the making."""
    for place in directory.iterdir():
        if _LEFT_OVER.fullmatch(place.name):
            with contextlib.suppress(OSError):
                if time.time() - place.stat().st_mtime > _LEFT_OVER_AFTER_S:
                    shutil.rmtree(place, ignore_errors=True)
