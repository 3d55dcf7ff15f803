"""A store of measurements: found again, made again, dropped, and never in the way."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError, RuntimeFailed, StoreFull, UsageError
from qgate.reference.entries import alone_in, read_entry
from qgate.reference.store import Store, require_usable
from tests.support.references import signed_place
from tests.support.store_entries import KB, NAMES, NOT_OURS, fill, fill_kb, names, read

if TYPE_CHECKING:
    from qgate.reference.signing import Key


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path / "deep" / "store"), []

    def note(place: Path) -> dict[str, Any]:
        made.append(place)
        return fill(place)

    first, second = (store.get_or_make("entry", note) for _ in range(2))

    assert (first.was_there, second.was_there) == (False, True)
    assert first.facts == second.facts == read(first.place)
    assert len(made) == 1
    assert names(store.directory) == ["entry"]
    assert store.notes == ()


@pytest.mark.parametrize("name", ["entry.json", "ids.npy"])
def test_a_damaged_entry_is_made_again_which_is_said_once(tmp_path: Path, name: str) -> None:
    Store(tmp_path).get_or_make("entry", fill)
    (signed_place(tmp_path, "entry") / name).write_bytes(b"x")
    store = Store(tmp_path)

    found = [store.get_or_make("entry", lambda place: fill(place, seed=1)) for _ in range(2)]

    assert [(one.facts["stride"], one.was_there) for one in found] == [(1, False), (1, True)]
    assert read(signed_place(tmp_path, "entry")) == found[0].facts
    assert store.notes == (NOT_OURS.format(tmp_path),)


@pytest.mark.parametrize("error", [RuntimeFailed("it crashed"), KeyboardInterrupt()], ids=repr)
def test_what_fails_in_the_making_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def fail(place: Path) -> dict[str, Any]:
        fill(place)
        raise error

    with pytest.raises(type(error)):
        Store(tmp_path).get_or_make("entry", fail)

    assert list(tmp_path.iterdir()) == []


def test_whoever_finishes_second_gets_the_entry_that_stands(tmp_path: Path) -> None:
    def make_beside_another(place: Path) -> dict[str, Any]:
        Store(tmp_path).get_or_make("entry", lambda other: fill(other, seed=1))
        return fill(place, seed=2)

    found = Store(tmp_path).get_or_make("entry", make_beside_another)

    assert found.facts["stride"] == 1
    assert found.facts == read(signed_place(tmp_path, "entry"))


def test_a_store_forgets_its_notes_of_use_when_it_is_closed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("entry", fill)

    store.close()

    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock",
        signed_place(tmp_path, "entry").name,
    }


# --- no room ----------------------------------------------------------------------------------


def disk_of(path: Path) -> Path:
    return next(one for one in (path, *path.parents) if os.path.ismount(one))


def no_room(place: Path) -> dict[str, Any]:
    (place / "half.npy").write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_nothing_and_takes_nothing_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("before", fill)

    store.keep("entry", no_room)
    store.keep("another", no_room)

    assert names(tmp_path) == ["before"]
    assert read(signed_place(tmp_path, "before")) is not None
    assert store.notes == (
        f"store: {tmp_path}: not everything could be kept (No space left on device; disk:"
        f" {disk_of(tmp_path)}): the next run measures it again. Free some space or make it"
        " writable, or name another directory with --qgate-store DIR",
    )


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), StoreFull("kept.npy: full")], ids=["parent", "child"]
)
def test_what_has_to_lie_on_a_disk_goes_to_another_one(tmp_path: Path, error: Exception) -> None:
    store = Store(tmp_path / "store")

    def make(place: Path) -> dict[str, Any]:
        if place.is_relative_to(store.directory):
            raise error
        return fill(place)

    found = store.get_or_make("entry", make)

    assert (found.was_there, found.facts) == (False, read(found.place))
    assert not found.place.is_relative_to(store.directory)
    assert len(store.notes) == 1
    assert names(store.directory) == []
    store.close()
    assert not found.place.exists()


def test_where_no_disk_has_room_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError) as caught:
        Store(tmp_path).get_or_make("entry", no_room)

    line = str(caught.value)
    assert line.startswith(f"store: got no room in {tmp_path} nor in ")
    assert line.endswith(
        " (No space left on device); expected room for one entry. Free some space, or name another"
        " directory with --qgate-store DIR"
    )


def test_a_store_that_is_removed_meanwhile_costs_no_more_than_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")

    def make(place: Path) -> dict[str, Any]:
        if place.is_relative_to(store.directory):
            shutil.rmtree(store.directory)
        return fill(place)

    found = store.get_or_make(NAMES[0], make)

    assert found.facts == read(found.place)
    [note] = store.notes
    assert "could be kept (it was removed while something was written there;" in note
    store.close()


def test_where_there_is_no_temporary_directory_it_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(MeasurementError, match=r"got no room in .* nor in a temporary directory"):
        Store(tmp_path).get_or_make(NAMES[0], no_room)


def test_a_lock_that_is_held_is_waited_for_once_and_its_holder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qgate.reference.store.LOCK_DEADLINE_S", 0.3)
    store = Store(tmp_path)
    with alone_in(tmp_path):
        started = time.monotonic()

        for name in NAMES:
            store.keep(name, fill)
        made = store.get_or_make(NAMES[0], fill)

        assert time.monotonic() - started < 5 * 0.3
    assert not made.place.is_relative_to(tmp_path)
    assert store.notes == (
        f"store: {tmp_path}: not everything could be kept (its lock is held by process"
        f" {os.getpid()}; disk: {disk_of(tmp_path)}): the next run measures it again. End that"
        " process, or name another directory with --qgate-store DIR",
    )
    store.close()


LOCKS_FAIL = {
    "no locks": OSError(errno.ENOSYS, "Function not implemented"),
    "too many locks": OSError(errno.ENOLCK, "No locks available"),
}


@pytest.mark.parametrize("what", LOCKS_FAIL)
def test_what_is_made_moves_where_it_can_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Neither made again, nor held up by locks that the other place has not, either."""

    def refuse(*_: object) -> None:
        raise LOCKS_FAIL[what]

    monkeypatch.setattr("qgate.untrusted.locks.fcntl.flock", refuse)
    store, made = Store(tmp_path / "store"), []

    def note(place: Path) -> dict[str, Any]:
        made.append(place)
        return fill(place, seed=3)

    found = store.get_or_make("entry", note)

    assert len(made) == 1
    assert (found.facts, found.facts["stride"]) == (read(found.place), 3)
    assert not found.place.is_relative_to(store.directory)
    assert names(store.directory) == []
    [said] = store.notes
    assert f"could be kept (it cannot be locked: {LOCKS_FAIL[what].strerror}; disk:" in said
    store.close()


def test_what_is_made_moves_to_another_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/dev/shm").is_dir():
        pytest.skip("no disk in memory")
    monkeypatch.setattr("tempfile.tempdir", "/dev/shm")
    monkeypatch.setattr("qgate.reference.store.LOCK_DEADLINE_S", 0.1)
    store, made = Store(tmp_path), []

    def note(place: Path) -> dict[str, Any]:
        made.append(place)
        return fill(place)

    with alone_in(tmp_path):
        found = store.get_or_make("entry", note)

    assert len(made) == 1
    assert found.place.is_relative_to("/dev/shm")
    assert found.facts == read(found.place)
    store.close()
    assert not found.place.exists()


def test_what_is_made_and_fits_nowhere_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []

    def note(place: Path) -> dict[str, Any]:
        made.append(place)
        return fill(place)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("qgate.reference.store.write_entry", refuse)

    with pytest.raises(MeasurementError, match=r"got no room in .* nor in "):
        Store(tmp_path).get_or_make("entry", note)
    assert len(made) == 1


def test_children_get_the_store_where_there_is_no_temporary_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    store = Store(tmp_path / "store")

    entries_seen, making = store.open_places()
    (tmp_path / "nowhere").mkdir()  # children do not see what comes later

    assert entries_seen == (store.directory,)
    assert [place.parent for place in making] == [store.directory]
    assert store.get_or_make("entry", fill).place.parent == store.directory
    with pytest.raises(MeasurementError, match=r"got no room in .* nor in a temporary directory"):
        store.get_or_make("another", no_room)
    store.close()


def test_an_entry_that_cannot_be_read_is_named_and_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).keep(NAMES[0], fill)
    place = signed_place(tmp_path, NAMES[0])
    store = Store(tmp_path)

    def refuse_there(asked: Path, key: Key) -> dict[str, Any] | None:
        if asked == place:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_entry(asked, key)

    monkeypatch.setattr("qgate.reference.store.read_entry", refuse_there)
    monkeypatch.setattr("qgate.reference.entries.read_entry", refuse_there)
    found = store.get_or_make(NAMES[0], lambda work: fill(work, seed=1))

    assert found.facts["stride"] == 1
    assert not found.place.is_relative_to(tmp_path)
    assert store.notes[0] == (
        f"store: {place}: cannot be read: Permission denied; it is measured again"
    )
    assert "could be kept (Permission denied;" in store.notes[1]
    assert read(place) is not None
    store.close()


def test_an_error_that_is_not_the_disk_s_is_not_taken_for_one(tmp_path: Path) -> None:
    def fail(_: Path) -> dict[str, Any]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    store = Store(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.get_or_make("entry", fail)

    assert store.notes == ()


# --- links ------------------------------------------------------------------------------------


def test_no_link_in_a_store_is_followed(tmp_path: Path) -> None:
    store, elsewhere = tmp_path / "store", tmp_path / "elsewhere"
    Store(store).keep(NAMES[0], fill_kb(1))
    elsewhere.mkdir()
    kept = elsewhere / "kept.txt"
    kept.write_text(f"{NAMES[0]}")
    os.utime(kept, (1, 1))
    facts = signed_place(store, NAMES[0]) / "entry.json"
    facts.unlink()
    facts.symlink_to(kept)
    (store / ".run-planted").symlink_to(kept)
    (store / ".measuring-planted").symlink_to(elsewhere)
    (store / NAMES[1]).symlink_to(elsewhere)

    require_usable(store)
    small = Store(store, limit_bytes=KB)
    small.get_or_make(NAMES[0], fill_kb(1))
    small.keep(NAMES[2], fill_kb(2))

    assert [(path.name, path.read_text()) for path in elsewhere.iterdir()] == [
        ("kept.txt", NAMES[0])
    ]
    assert kept.stat().st_mtime == 1


def test_a_pipe_in_the_place_of_a_note_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".run-planted")

    Store(tmp_path, limit_bytes=1).keep(NAMES[0], fill_kb(1))

    assert names(tmp_path) == [NAMES[0]]


# --- what killed runs left --------------------------------------------------------------------

_MAKER = """
import sys
from pathlib import Path
from qgate.reference.store import Store
def make(work):
    print(work, flush=True)
    sys.stdin.read()
store = Store(Path(sys.argv[1]))
store.keep("before", lambda work: {})
store.keep("entry", make)
"""


def test_what_a_killed_run_left_goes_with_the_next_and_what_runs_stays(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _MAKER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as maker:
        assert maker.stdout is not None
        work = Path(maker.stdout.readline().rstrip("\n"))
        old = time.time() - 48 * 3600
        os.utime(work, (old, old))
        require_usable(tmp_path)
        assert work.is_dir()
        assert len(list(tmp_path.glob(".run-*"))) == 1
        maker.kill()

    require_usable(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock",
        signed_place(tmp_path, "before").name,
    }


# --- where it cannot be -----------------------------------------------------------------------


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")

    for directory in (tmp_path / "file", tmp_path / "file" / "references"):
        with pytest.raises(UsageError) as caught:
            require_usable(directory)
        assert str(caught.value) == (
            f"--qgate-store: {tmp_path / 'file'}: got a file; expected a directory. Move it away,"
            " or name another directory with --qgate-store DIR"
        )
    assert (tmp_path / "file").read_text() == "kept"


def test_a_directory_that_takes_nothing_is_no_store() -> None:
    directory = Path("/proc/self/qgate")  # nobody can make one there, not even root
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc on this system")
    with pytest.raises(UsageError) as caught:
        require_usable(directory)

    assert str(caught.value).startswith(f"--qgate-store: {directory}: cannot be written (")
    assert str(caught.value).endswith(" Name another with --qgate-store DIR")


def test_a_directory_that_can_be_made_is_one_and_stays_empty(tmp_path: Path) -> None:
    require_usable(tmp_path / "a" / "b")

    assert list((tmp_path / "a" / "b").iterdir()) == []
