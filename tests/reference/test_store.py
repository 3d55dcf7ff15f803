"""A store of measurements: found again, made again, dropped, and never in the way."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts.digest import name_entry
from qgate.errors import MeasurementError, RuntimeFailed, StoreFull, UsageError
from qgate.reference.entries import read_entry
from qgate.reference.store import Store, require_usable
from tests.support.references import entries

if TYPE_CHECKING:
    from collections.abc import Callable

KB = 1000
NAMES = [name_entry({"number": number}) for number in range(6)]


def fill(place: Path, seed: int = 0) -> dict[str, Any]:
    np.save(place / "ids.npy", np.random.default_rng(seed).integers(0, 64, 20))
    return {"stride": seed}


def fill_kb(count: int) -> Callable[[Path], dict[str, Any]]:
    def save(place: Path) -> dict[str, Any]:
        (place / "answer.json").write_bytes(b"x" * count * KB)
        return {}

    return save


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    store, made = Store(tmp_path / "deep" / "store"), []

    def note(place: Path) -> dict[str, Any]:
        made.append(place)
        return fill(place)

    first, second = (store.get_or_make("entry", note) for _ in range(2))

    assert (first.was_there, second.was_there) == (False, True)
    assert first.facts == second.facts == read_entry(store.directory / "entry")
    assert len(made) == 1
    assert entries(store.directory) == ["entry"]
    assert store.notes == ()


@pytest.mark.parametrize("name", ["entry.json", "ids.npy"])
def test_a_damaged_entry_is_made_again_which_is_said_once(tmp_path: Path, name: str) -> None:
    Store(tmp_path).get_or_make("entry", fill)
    (tmp_path / "entry" / name).write_bytes(b"x")
    store = Store(tmp_path)

    found = [store.get_or_make("entry", lambda place: fill(place, seed=1)) for _ in range(2)]

    assert [(one.facts["stride"], one.was_there) for one in found] == [(1, False), (1, True)]
    assert read_entry(tmp_path / "entry") == found[0].facts
    assert store.notes == (
        f"store: a damaged entry was found and is measured again: {tmp_path / 'entry'}",
    )


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
    assert found.facts == read_entry(tmp_path / "entry")


def test_a_store_forgets_its_notes_of_use_when_it_is_closed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("entry", fill)

    store.close()

    assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "entry"]


# --- no room ----------------------------------------------------------------------------------


def no_room(place: Path) -> dict[str, Any]:
    (place / "half.npy").write_bytes(b"half of it")
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_keeps_nothing_and_takes_nothing_away(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep("before", fill)

    store.keep("entry", no_room)
    store.keep("another", no_room)

    assert entries(tmp_path) == ["before"]
    assert read_entry(tmp_path / "before") is not None
    assert store.notes == (
        f"store: {tmp_path}: not everything could be kept (No space left on device): the next run"
        " measures it again. Free some space, or name another directory with --qgate-store DIR",
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

    assert (found.was_there, found.facts) == (False, read_entry(found.place))
    assert not found.place.is_relative_to(store.directory)
    assert len(store.notes) == 1
    assert entries(store.directory) == []
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


def test_an_error_that_is_not_the_disk_s_is_not_taken_for_one(tmp_path: Path) -> None:
    def fail(_: Path) -> dict[str, Any]:
        raise FileNotFoundError(errno.ENOENT, "No such file or directory")

    store = Store(tmp_path)
    with pytest.raises(FileNotFoundError):
        store.get_or_make("entry", fail)

    assert store.notes == ()


# --- the limit --------------------------------------------------------------------------------


def use(directory: Path, name: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(directory / name / "entry.json", (then, then))


def test_beyond_the_limit_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    full = Store(tmp_path)
    for number in range(4):
        full.keep(NAMES[number], fill_kb(10))
        use(tmp_path, NAMES[number], seconds_ago=1000 - number)
    use(tmp_path, NAMES[0], seconds_ago=1)
    full.close()

    Store(tmp_path, limit_bytes=35 * KB).keep(NAMES[4], fill_kb(10))

    assert sorted(entries(tmp_path)) == sorted([NAMES[0], NAMES[3], NAMES[4]])
    assert all(read_entry(tmp_path / name) for name in entries(tmp_path))


def test_reading_is_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(NAMES[0], fill)
    use(tmp_path, NAMES[0], seconds_ago=10**6)

    Store(tmp_path).find(NAMES[0])

    assert time.time() - (tmp_path / NAMES[0] / "entry.json").stat().st_mtime < 3600


_READER = """
import sys
from pathlib import Path
from qgate.reference.store import Store
store = Store(Path(sys.argv[1]))
assert store.find(sys.argv[2]) is not None
print("reading", flush=True)
sys.stdin.read()
"""


def test_what_a_running_gate_reads_is_not_dropped_until_it_ends(tmp_path: Path) -> None:
    first = Store(tmp_path)
    for name in NAMES[:2]:
        first.keep(name, fill_kb(10))
        use(tmp_path, name, seconds_ago=1000)
    first.close()
    command = [sys.executable, "-c", _READER, str(tmp_path), NAMES[0]]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"

        small = Store(tmp_path, limit_bytes=5 * KB)
        small.keep(NAMES[2], fill_kb(10))

        assert sorted(entries(tmp_path)) == sorted([NAMES[0], NAMES[2]])
        assert small.notes == (
            f"store: {tmp_path}: what running gates use takes more than qgate_store_gib ="
            f" {5 * KB / 2**30:g} GiB; it is dropped after them",
        )
        reader.kill()
    small.close()

    Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[3], fill_kb(1))

    assert entries(tmp_path) == [NAMES[3]]
    assert [path for path in tmp_path.glob(".run-*") if not path.read_text()] == []


def test_nothing_is_dropped_but_entries(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 100 * KB)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.gguf").write_text("x" * 100 * KB)

    Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[0], fill_kb(1))

    assert sorted(entries(tmp_path)) == sorted([NAMES[0], "notes.txt", "models"])


def test_what_a_killed_run_left_in_the_making_goes_after_a_day(tmp_path: Path) -> None:
    for name, hours in ((".measuring-old", 25), (".measuring-new", 1), (".dropped-old", 25)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half.npy").write_bytes(b"x")
        then = time.time() - 3600 * hours
        os.utime(tmp_path / name, (then, then))

    Store(tmp_path).keep(NAMES[0], fill)

    assert sorted(entries(tmp_path)) == sorted([".measuring-new", NAMES[0]])


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
