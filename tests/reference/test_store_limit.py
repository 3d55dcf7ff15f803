"""What a store drops when it grows beyond its limit, and what it keeps: what running gates use."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qgate.reference.store import Store
from qgate.untrusted.locks import open_to_lock
from tests.support.references import entries, signed_place
from tests.support.store_entries import KB, NAMES, fill, fill_kb, names, read


def use(directory: Path, name: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(signed_place(directory, name) / "entry.json", (then, then))


def test_beyond_the_limit_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    full = Store(tmp_path)
    for number in range(4):
        full.keep(NAMES[number], fill_kb(10))
        use(tmp_path, NAMES[number], seconds_ago=1000 - number)
    use(tmp_path, NAMES[0], seconds_ago=1)
    full.close()

    Store(tmp_path, limit_bytes=35 * KB).keep(NAMES[4], fill_kb(10))

    assert sorted(names(tmp_path)) == sorted([NAMES[0], NAMES[3], NAMES[4]])
    assert all(read(tmp_path / name) for name in entries(tmp_path))


def test_reading_is_use(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.keep(NAMES[0], fill)
    use(tmp_path, NAMES[0], seconds_ago=10**6)

    Store(tmp_path).find(NAMES[0])

    assert time.time() - (signed_place(tmp_path, NAMES[0]) / "entry.json").stat().st_mtime < 3600


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

        assert sorted(names(tmp_path)) == sorted([NAMES[0], NAMES[2]])
        assert small.notes == (
            f"store: {tmp_path}: what running gates use takes more than qgate_store_gib ="
            f" {5 * KB / 2**30:g} GiB; it is dropped after them",
        )
        reader.kill()
    small.close()

    Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[3], fill_kb(1))

    assert names(tmp_path) == [NAMES[3]]
    assert [path for path in tmp_path.glob(".run-*") if not path.read_text()] == []


def test_notes_of_use_can_be_read_by_whoever_reads_the_store(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        store = Store(tmp_path)
        store.keep(NAMES[0], fill)
    finally:
        os.umask(before)

    [note] = tmp_path.glob(".run-*")
    assert note.stat().st_mode & 0o777 == 0o644
    store.close()


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOLCK])
def test_where_a_note_has_no_lock_its_entries_are_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """NFS refuses to lock for oneself what was opened to be read."""
    whole_flock = fcntl.flock

    def flock(file: int, how: int) -> None:
        name = Path(f"/proc/self/fd/{file}").readlink().name
        if name == ".run-theirs" and (number != errno.EBADF or not is_written(file)):
            raise OSError(number, "no lock")
        whole_flock(file, how)

    monkeypatch.setattr("fcntl.flock", flock)
    first = Store(tmp_path)
    for name in NAMES[:2]:
        first.keep(name, fill_kb(10))
        use(tmp_path, name, seconds_ago=1000)
    first.close()
    note = tmp_path / ".run-theirs"
    note.write_text(f"{signed_place(tmp_path, NAMES[0]).name}\n")

    with note.open("rb+") as held:
        whole_flock(held, fcntl.LOCK_EX)
        Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[2], fill_kb(10))

    assert sorted(names(tmp_path)) == sorted([NAMES[0], NAMES[2]])
    assert note.exists()


def is_written(file: int) -> bool:
    return fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR


def test_where_a_note_cannot_be_read_nothing_is_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(tmp_path).keep(NAMES[0], fill_kb(10))
    note = tmp_path / ".run-theirs"
    note.write_text("")

    def refuse_there(path: Path, flags: int = 0) -> int:
        if path == note:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_to_lock(path, flags)

    monkeypatch.setattr("qgate.reference.store.open_to_lock", refuse_there)
    Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[1], fill_kb(10))

    assert len(names(tmp_path)) == 2
    assert note.exists()


def test_entries_of_other_users_that_cannot_be_dropped_keep_no_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Store(tmp_path)
    for number in range(2):
        first.keep(NAMES[number], fill_kb(10))
        use(tmp_path, NAMES[number], seconds_ago=1000 - number)
    first.close()
    rename = Path.rename

    def refuse_theirs(path: Path, target: Path) -> Path:
        if path.name.startswith(NAMES[0]):
            raise PermissionError(errno.EACCES, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse_theirs)
    small = Store(tmp_path, limit_bytes=5 * KB)
    small.keep(NAMES[2], fill_kb(10))

    assert sorted(names(tmp_path)) == sorted([NAMES[0], NAMES[2]])
    [said] = small.notes
    assert "what running gates use, or other users keep, takes more than" in said
    small.close()


def test_nothing_is_dropped_but_entries(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x" * 100 * KB)
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model.gguf").write_text("x" * 100 * KB)

    Store(tmp_path, limit_bytes=5 * KB).keep(NAMES[0], fill_kb(1))

    assert sorted(names(tmp_path)) == sorted([NAMES[0], "notes.txt", "models"])
