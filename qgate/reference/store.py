"""The directory in which measurements are kept: what is found there, what is dropped, what is said.

A store is a help and never a condition. What cannot be read is measured again, what cannot be
written is used all the same and measured again by the next run, and either is said once.

    <store>/<name>-<key>/    an entry of the key of that name, see `qgate.reference.entries`
            .lock            held while an entry is put in place, dropped, or noted as in use
            .run-<id>        names of the entries that a running gate uses; locked while it runs
            .measuring-<id>  an entry in the making; locked by who makes it

When the entries take more than the limit, those that were used the longest time ago are dropped,
but none that a running gate uses. An entry was used when its `entry.json` was last touched.

The store's directory, and what lies above it, may be links that the user made: nothing but new
files of the names above is put there. Below it no link is followed.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import functools
import os
import re
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, RuntimeFailed, StoreFull, UsageError
from qgate.reference.entries import (
    FACTS,
    LOCK_DEADLINE_S,
    alone_in,
    put_in_place,
    read_entry,
    write_entry,
)
from qgate.reference.signing import VARIABLE, Key, find_key
from qgate.untrusted.files import NO_FILE, open_unlinked
from qgate.untrusted.locks import is_free, open_to_lock, wait_for
from qgate.untrusted.work_folder import WorkFolder, sweep, sweep_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DEFAULT_GIB = 20.0
"""Two references of 70 B parameters with a vocabulary of 128k take about 1 GB each with the default
text; the answers of an artifact take a few MB. A CI cache holds as much."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_WRITABLE = (*_NO_ROOM, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR)
_ENTRY_NAME = re.compile(r"[0-9a-f]{32}(-[0-9a-f]{8})?")
_LEFT_OVER = re.compile(r"\.(measuring|dropped)-.*")
_MOST_NOTES_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry that was found or made."""

    place: Path
    facts: dict[str, Any]
    was_there: bool


class Store:
    """Entries under one directory; safe for several runs at once."""

    def __init__(
        self, directory: Path, limit_bytes: float = DEFAULT_GIB * 2**30, key: Key | None = None
    ) -> None:
        self.directory = directory.absolute()  # children work elsewhere
        self._limit_bytes = limit_bytes
        self._given_key = key
        self._notes: dict[str, None] = {}
        self._in_use: set[str] = set()
        self._run: int | None = None
        self._run_path: Path | None = None
        self._spare: WorkFolder | None = None
        self._no_spare: StoreFull | None = None
        self._making: dict[Path, WorkFolder] = {}
        self._unmade: dict[Path, OSError] = {}
        self._bytes: int | None = None
        self._is_refused = False
        self._patience_s = LOCK_DEADLINE_S

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be said at the end of the run, each line once."""
        return tuple(self._notes)

    def has_entries(self) -> bool:
        """Whether anything is kept there under this key, of whatever model."""
        with contextlib.suppress(OSError):
            return any(self.directory.glob(f"*-{self._key.name}"))
        return False

    def find(self, name: str) -> Entry | None:
        """The intact entry of that name; None where there is none."""
        place = self._place(self.directory, name)
        if self._key.problem or not os.path.lexists(place):
            if name in self._names_of_others:
                self._say_not_ours()
            return None
        self._note_use(place.name)
        try:
            facts = read_entry(place, self._key)
        except OSError as error:
            self._say(f"store: {place}: cannot be read: {_reason(error)}; it is measured again")
            return None
        if facts is None:
            self._say_not_ours()
            return None
        with contextlib.suppress(OSError):
            os.utime(place / FACTS, follow_symlinks=False)
        return Entry(place=place, facts=facts, was_there=True)

    def keep(self, name: str, save: Callable[[Path], dict[str, Any]]) -> None:
        """Write an entry of what is known already; where that fails it is said, and no more.

        Args:
            name: of the entry.
            save: writes files into the directory that it is given and returns the other facts.
        """
        if self._key.problem:
            return
        try:
            self._make(self.directory, name, save, within=self.directory)
        except (OSError, MeasurementError) as error:
            self._say_not_kept(error)

    def get_or_make(self, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        """The intact entry, made if there is none.

        Where the store cannot be written it is made in a temporary directory, for this run; what
        was made already moves there.

        Args:
            name: of the entry.
            make: measures, writes files into the directory that it is given and returns the rest.

        Raises:
            QGateError: what `make` raises.
            MeasurementError: the entry can be written nowhere.
        """
        found = self.find(name)
        if found is not None:
            return found
        try:
            if not self._key.problem:
                return self._make(self.directory, name, make, may_move=True)
        except (OSError, StoreFull) as error:
            if not _is_of_the_disk(error):
                raise
            self._say_not_kept(error)
        return self._make_in_spare(name, make)

    def _make_in_spare(self, name: str, make: Callable[[Path], dict[str, Any]]) -> Entry:
        try:
            return self._make(self._open_spare(), name, make)
        except (OSError, StoreFull) as error:
            if not _is_of_the_disk(error):
                raise
            beside = self._spare.path.parent if self._spare else "a temporary directory"
            raise MeasurementError(
                f"store: got no room in {self.directory} nor in {beside}"
                f" ({_reason(error)}); expected room for one entry. Free some space, or name"
                " another directory with --qgate-store DIR"
            ) from error

    def open_places(self) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
        """For children: where entries lie, and where `get_or_make` makes them.

        All of it is there from now on, as far as it can be made.
        """
        places = [self.directory]
        with contextlib.suppress(StoreFull):
            places.append(self._open_spare())
        for place in places:
            if place not in self._making:
                try:
                    place.mkdir(parents=True, exist_ok=True)
                    self._making[place] = WorkFolder(".measuring-", place)
                except OSError as error:
                    self._unmade[place] = error
        return tuple(places), tuple(folder.path for folder in self._making.values())

    def _open_spare(self) -> Path:
        """A temporary directory, or the error that there is none: children see none that is new."""
        if self._no_spare is not None:
            raise self._no_spare
        try:
            with _told_of_the_disk():
                self._spare = self._spare or WorkFolder("qgate-store-")
        except StoreFull as error:
            self._no_spare = error
            raise
        return self._spare.path

    def close(self) -> None:
        """End the use of every entry."""
        for folder in self._making.values():
            folder.close()
        self._making.clear()
        if self._run_path is not None:
            self._run_path.unlink(missing_ok=True)
            self._run_path = None
        if self._run is not None:
            os.close(self._run)
            self._run = None
        self._in_use.clear()
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    # --- whose entries ------------------------------------------------------------------------

    @functools.cached_property
    def _key(self) -> Key:
        key = self._given_key or find_key(os.environ)
        if key.problem:
            self._say(
                f"store: nothing is kept for later runs: no key to sign it with ({key.problem})."
                f" Mend that, or set {VARIABLE}"
            )
        return key

    def _place(self, directory: Path, name: str) -> Path:
        """Each key has entries of its own: who has another may be reading his."""
        return directory / f"{name}-{self._key.name}"

    @functools.cached_property
    def _names_of_others(self) -> frozenset[str]:
        """Names under which there are entries of other keys, or unsigned ones."""
        try:
            found = [place.name.rpartition("-") for place in self.directory.iterdir()]
        except OSError:
            return frozenset()
        return frozenset(name or key for name, _, key in found if key != self._key.name)

    def _say_not_ours(self) -> None:
        self._say(
            f"store: {self.directory}: got entries that are damaged, or not signed with this key;"
            f" they are measured again. Who shares a store shares {VARIABLE}"
        )

    # --- entries in the making ----------------------------------------------------------------

    def _make(
        self,
        directory: Path,
        name: str,
        make: Callable[[Path], dict[str, Any]],
        within: Path | None = None,
        *,
        may_move: bool = False,
    ) -> Entry:
        """Make an entry in a folder `within`; None: where children may write, if there are any.

        Where it is made and cannot be put in place it moves to the spare, if it may.
        """
        place = self._place(directory, name)
        with _told_of_the_disk():
            directory.mkdir(parents=True, exist_ok=True)
            folder = WorkFolder(".measuring-", within or self._folder(directory))
        with folder as work:
            try:
                made = make(work)
            except (OSError, RuntimeFailed) as error:
                if work.is_dir():
                    raise
                raise StoreFull("it was removed while something was written there") from error
            try:
                facts = self._put(work, place, made)
            except StoreFull as error:
                if not (may_move and work.is_dir()):
                    raise
                self._say_not_kept(error)
                return self._make_in_spare(name, lambda spare: _move(work, spare, made))
        if directory == self.directory:
            with contextlib.suppress(OSError):
                self._hold_to_limit(place.name)
        return Entry(place=place, facts=facts, was_there=False)

    def _put(self, work: Path, place: Path, made: dict[str, Any]) -> dict[str, Any]:
        """Sign what was made and give it its name; in the spare nobody else does."""
        with _told_of_the_disk():
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            write_entry(work, place.name, {**made, "measured_at": now}, self._key)
            if place.parent != self.directory:
                return put_in_place(work, place, self._key)
            self._note_use(place.name)
            with self._alone(place.parent):
                return put_in_place(work, place, self._key)

    def _folder(self, directory: Path) -> Path:
        """Where an entry is made by a child, which sees no folder that came later."""
        if not self._making:
            return directory
        if directory not in self._making:
            raise self._unmade[directory]
        return self._making[directory].path

    def _say_not_kept(self, error: Exception) -> None:
        if self._is_refused:
            return
        self._is_refused = True
        reason, remedy = _reason(error), "Free some space or make it writable"
        if isinstance(error.__cause__ or error, TimeoutError):
            remedy = "End that process"
        self._say(
            f"store: {self.directory}: not everything could be kept ({reason}; disk:"
            f" {_disk_of(self.directory)}): the next run measures it again. {remedy}, or name"
            " another directory with --qgate-store DIR"
        )

    def _say(self, note: str) -> None:
        self._notes[note] = None

    @contextlib.contextmanager
    def _alone(self, directory: Path) -> Iterator[None]:
        """Waits once a run for who holds the lock; then it is had at once or not at all."""
        try:
            with alone_in(directory, self._patience_s):
                yield
        except TimeoutError as error:
            self._patience_s = 0.0
            self._say_not_kept(error)
            raise

    # --- entries in use -----------------------------------------------------------------------

    def _note_use(self, place: str) -> None:
        """Keep other runs from dropping the entry; a store that takes no note drops nothing."""
        if place in self._in_use:
            return
        self._in_use.add(place)
        with contextlib.suppress(OSError), self._alone(self.directory):
            if self._run is None:
                path = self.directory / f".run-{uuid.uuid4().hex}"
                self._run = open_unlinked(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
                self._run_path = path
                with contextlib.suppress(OSError):  # without locks it is in use for a day
                    wait_for(self._run, 0.0)
            os.write(self._run, f"{place}\n".encode())

    # --- the limit ----------------------------------------------------------------------------

    def _hold_to_limit(self, newest: str) -> None:
        if self._bytes is None:
            self._bytes = sum(size for _, size, _ in _measure_entries(self.directory))
        else:
            self._bytes += _size(self.directory / newest)
        if self._bytes > self._limit_bytes:
            with self._alone(self.directory):
                self._drop_least_used()

    def _drop_least_used(self) -> None:
        used_by_others, whose = _used_by_others(self.directory, self._run_path), "running gates use"
        entries = sorted(_measure_entries(self.directory), key=lambda entry: entry[0])
        total = sum(size for _, size, _ in entries)
        for _, size, place in entries:
            if total <= self._limit_bytes or used_by_others is None:
                break
            if place.name in self._in_use | used_by_others:
                continue
            try:
                # renamed first: half of an entry never has an entry's name
                with WorkFolder(".dropped-", self.directory) as dropped:
                    place.rename(dropped / place.name)
                total -= size
            except PermissionError:
                whose = "running gates use, or other users keep,"
        self._bytes = total
        if total > self._limit_bytes:
            self._say(
                f"store: {self.directory}: what {whose} takes more than qgate_store_gib ="
                f" {self._limit_bytes / 2**30:g} GiB; it is dropped after them"
            )


def require_usable(directory: Path) -> None:
    """Find out before the run whether measurements can be kept there; remove what killed runs left.

    A full disk is no reason to refuse: what is measured can be judged all the same.

    Raises:
        UsageError: they cannot, or the key of the environment is none.
    """
    find_key(os.environ)
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
        WorkFolder(".measuring-", directory).close()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise UsageError(
                f"--qgate-store: {directory}: cannot be written ({error.strerror}); expected a"
                " directory in which measurements can be kept. Name another with --qgate-store DIR"
            ) from error

    sweep(directory, _LEFT_OVER)
    sweep_temporary()
    if any(directory.glob(".run-*")):
        with contextlib.suppress(OSError), alone_in(directory, patience_s=0.0):
            _used_by_others(directory, None)


def _used_by_others(directory: Path, own: Path | None) -> set[str] | None:
    """Names that other running gates use; None where that cannot be known.

    The notes of those that ended are removed.
    """
    found: set[str] = set()
    for path in directory.glob(".run-*"):
        if path == own:
            continue
        try:
            with os.fdopen(open_to_lock(path), "rb") as file:
                if not is_free(file.fileno()):
                    found |= set(file.read(_MOST_NOTES_BYTES).decode(errors="replace").split())
                    continue
        except OSError as error:
            if error.errno in NO_FILE:
                continue
            return None
        with contextlib.suppress(OSError):
            path.unlink()
    return found


def _move(work: Path, other: Path, made: dict[str, Any]) -> dict[str, Any]:
    """Everything but its signature, which is of the place."""
    with _told_of_the_disk():
        for file in work.iterdir():
            if file.name != FACTS:
                shutil.move(file, other / file.name)
    return made


@contextlib.contextmanager
def _told_of_the_disk() -> Iterator[None]:
    """Nothing but the disk can be the cause of an OSError in the block."""
    try:
        yield
    except OSError as error:
        raise StoreFull(_reason(error)) from error


def _disk_of(path: Path) -> Path:
    """The place where the file system is mounted that it lies on, or would."""
    return next((one for one in (path, *path.parents) if os.path.ismount(one)), path)


def _is_of_the_disk(error: Exception) -> bool:
    return isinstance(error, StoreFull) or getattr(error, "errno", None) in _NOT_WRITABLE


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _measure_entries(directory: Path) -> Iterator[tuple[float, int, Path]]:
    """(last use, bytes, place) of every entry."""
    for place in directory.iterdir():
        if _ENTRY_NAME.fullmatch(place.name) and place.is_dir() and not place.is_symlink():
            try:
                used = (place / FACTS).lstat().st_mtime
            except OSError:
                used = 0.0
            yield used, _size(place), place


def _size(place: Path) -> int:
    with contextlib.suppress(OSError):
        return sum(file.stat(follow_symlinks=False).st_size for file in os.scandir(place))
    return 0
