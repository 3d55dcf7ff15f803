"""Entries of the reference store: whole or absent, and trusted to the byte."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.artifacts.digest import name_entry
from qgate.reference.entries import alone_in, put_in_place, read_entry, write_entry
from qgate.reference.signing import Key
from qgate.untrusted.files import open_unlinked
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FACTS = {"stride": 3, "self_kl_nats": 1.5e-7, "facts": {"n_vocab": 64}, "name": "é"}


KEY = Key(secret=b"a key of this user's, 32 bytes and more")


def make(place: Path, seed: int = 0, size: int = 20, name: str = "", key: Key = KEY) -> Path:
    """An entry; one in the making is signed for the name that it will have."""
    place.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    np.save(place / "ids.npy", rng.integers(0, 64, size))
    np.save(place / "nll.npy", rng.random(size))
    write_entry(place, name or place.name, FACTS, key)
    return place


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = read_entry(make(tmp_path / "entry"), KEY)

    assert entry is not None
    assert FACTS.items() <= entry.items()
    assert sorted(entry["arrays"]) == ["ids.npy", "nll.npy"]


@pytest.mark.parametrize("name", ["entry.json", "ids.npy", "nll.npy"])
def test_no_byte_can_change_unnoticed(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "entry") / name
    intact = path.read_bytes()

    for place in range(len(intact)):
        for flip in (0x01, 0x10, 0x80):
            changed = bytearray(intact)
            changed[place] ^= flip
            path.write_bytes(changed)
            assert read_entry(path.parent, KEY) is None, (place, flip)
    for cut in (0, 1, len(intact) // 2, len(intact) - 1):
        path.write_bytes(intact[:cut])
        assert read_entry(path.parent, KEY) is None
    path.write_bytes(intact + b"\n")
    assert read_entry(path.parent, KEY) is None

    path.write_bytes(intact)
    assert read_entry(path.parent, KEY) is not None


NOT_ENTRIES = ["", "[]", "null", "{}", '"entry"', "[" * 100_000, '{"arrays": []}', '{"arrays": 1}']


@pytest.mark.parametrize("text", NOT_ENTRIES, ids=lambda text: text[:15] or "nothing")
def test_what_is_no_entry_is_absent(tmp_path: Path, text: str) -> None:
    make(tmp_path / "entry")
    (tmp_path / "entry" / "entry.json").write_text(text)

    assert read_entry(tmp_path / "entry", KEY) is None


def test_a_lost_array_and_a_lost_directory_are_absent_entries(tmp_path: Path) -> None:
    make(tmp_path / "entry")
    (tmp_path / "entry" / "nll.npy").unlink()
    (tmp_path / "file").write_text("")

    assert read_entry(tmp_path / "entry", KEY) is None
    assert read_entry(tmp_path / "nowhere", KEY) is None
    assert read_entry(tmp_path / "file", KEY) is None


def test_an_intact_entry_is_never_replaced(tmp_path: Path) -> None:
    place = make(tmp_path / "entry", seed=1)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in place.iterdir()}

    stands = put(make(tmp_path / "work", seed=2, name="entry"), place)

    assert stands == read_entry(place, KEY)
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in place.iterdir()} == before


@pytest.mark.parametrize("damage", ["a byte", "an array", "everything"])
def test_a_damaged_entry_is_replaced(tmp_path: Path, damage: str) -> None:
    place = make(tmp_path / "store" / "entry", seed=1)
    if damage == "a byte":
        (place / "nll.npy").write_bytes(b"x")
    elif damage == "an array":
        (place / "nll.npy").unlink()
    else:
        for path in place.iterdir():
            path.unlink()

    stands = put(make(tmp_path / "store" / "work", seed=2, name="entry"), place)

    assert stands == read_entry(place, KEY)
    assert (np.load(place / "ids.npy") == np.random.default_rng(2).integers(0, 64, 20)).all()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", "entry"]


@pytest.mark.parametrize("is_damaged", [False, True])
def test_many_at_once_all_get_the_one_that_stands(tmp_path: Path, is_damaged: bool) -> None:
    runs, store = 6, tmp_path / "store"
    for turn in range(50):
        place = store / f"entry{turn}"
        works = [make(store / f"work{turn}-{run}", name=place.name) for run in range(runs)]
        if is_damaged:
            (make(place) / "ids.npy").write_bytes(b"x")
        together = threading.Barrier(runs)

        def meet(
            work: Path, place: Path = place, together: threading.Barrier = together
        ) -> dict[str, object]:
            together.wait()
            return put(work, place)

        with ThreadPoolExecutor(runs) as pool:
            found = list(pool.map(meet, works))

        assert all(entry == read_entry(place, KEY) for entry in found)
        assert read_entry(place, KEY) is not None


def put(work: Path, place: Path) -> dict[str, object]:
    with alone_in(place.parent):
        return put_in_place(work, place, KEY)


# --- forged ---------------------------------------------------------------------------------------


def test_an_entry_of_another_key_is_none(tmp_path: Path) -> None:
    forged = make(tmp_path / "entry", key=Key(secret=b"a key of somebody else's, 32 bytes too"))

    assert read_entry(forged, KEY) is None


def test_an_entry_under_another_name_is_none(tmp_path: Path) -> None:
    """What an artifact answered was signed, too: it is not to be the reference's answer."""
    of_the_artifact = make(tmp_path / "artifact")

    of_the_artifact.rename(tmp_path / "reference")

    assert read_entry(tmp_path / "reference", KEY) is None


def test_a_file_that_was_not_signed_makes_it_no_entry(tmp_path: Path) -> None:
    """`topics.npy` and `top_logprobs.npy` are read where they are there."""
    place = make(tmp_path / "entry")

    np.save(place / "top_logprobs.npy", np.zeros(20))

    assert read_entry(place, KEY) is None


@pytest.mark.parametrize("what", ["the entry", "entry.json", "ids.npy"])
def test_no_link_to_what_was_signed_is_followed(tmp_path: Path, what: str) -> None:
    place = make(tmp_path / "store" / "entry")
    victim = place if what == "the entry" else place / what
    elsewhere = tmp_path / "elsewhere" / victim.name
    elsewhere.parent.mkdir()
    victim.rename(elsewhere)

    victim.symlink_to(elsewhere)

    assert read_entry(place, KEY) is None


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    place = make(tmp_path / "entry")
    (place / "ids.npy").unlink()

    os.mkfifo(place / "ids.npy")

    assert read_entry(place, KEY) is None


# --- other users --------------------------------------------------------------------------------


@pytest.mark.parametrize(("umask", "mode"), [(0o027, 0o750), (0o002, 0o775), (0o077, 0o700)])
def test_an_entry_is_open_to_whom_the_umask_lets_in(tmp_path: Path, umask: int, mode: int) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o2775)
    before = os.umask(umask)
    try:
        with WorkFolder(".measuring-", store) as work:
            np.save(work / "ids.npy", np.zeros(3))
            write_entry(work, "entry", FACTS, KEY)
            put(work, store / "entry")
    finally:
        os.umask(before)

    assert stat.S_IMODE((store / "entry").stat().st_mode) == 0o2000 | mode


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_what_cannot_be_read_is_not_taken_for_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    place = make(tmp_path / "store" / "entry")
    work = make(tmp_path / "store" / "work", seed=2, name="entry")
    with monkeypatch.context() as patch:
        patch.setattr("qgate.reference.entries.open_unlinked", refusing(number))
        with pytest.raises(OSError, match="as it was asked for"):
            read_entry(place, KEY)
        with pytest.raises(OSError, match="as it was asked for"):
            put(work, place)

    assert read_entry(place, KEY) is not None


def refusing(number: int) -> Callable[..., int]:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, "as it was asked for")

    return refuse


# --- the lock -------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_a_link_in_the_place_of_the_lock_changes_nobody_s_file(tmp_path: Path, link: str) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("not a lock")
    lock = tmp_path / ".lock"
    if link == "hard":
        lock.hardlink_to(kept)
    else:
        lock.symlink_to(kept)

    with contextlib.suppress(OSError), alone_in(tmp_path):
        pass

    assert kept.read_text() == "not a lock"


def test_a_lock_that_another_user_made_is_had_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".lock").write_text("")

    def open_to_read(path: Path, flags: int = os.O_RDONLY, within: int | None = None) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_unlinked(path, flags, within)

    monkeypatch.setattr("qgate.untrusted.locks.open_unlinked", open_to_read)
    with (
        alone_in(tmp_path),
        pytest.raises(TimeoutError, match=r"its lock is held by another process$"),
        alone_in(tmp_path, patience_s=0.1),
    ):
        pytest.fail("two were alone")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_where_there_are_no_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr("fcntl.flock", refusing(number))

    with (
        pytest.raises(OSError, match="it cannot be locked: as it was asked for"),
        alone_in(tmp_path),
    ):
        pytest.fail("alone without a lock")


_HOLDER = """
import sys
from pathlib import Path
from qgate.reference.entries import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_who_holds_the_lock_for_too_long_is_named(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"

        with (
            pytest.raises(TimeoutError, match=f"its lock is held by process {holder.pid}$"),
            alone_in(tmp_path, patience_s=0.1),
        ):
            pytest.fail("two were alone")
        holder.kill()
    with alone_in(tmp_path, patience_s=0.1):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert (tmp_path / ".lock").read_text() == ""


MADE_OF = {"format": 1, "work": "sha256:1", "runtime": {"name": "fake", "build": "numpy"}}


def test_a_name_is_of_everything_that_it_is_made_of_in_any_order() -> None:
    changed = [
        {**MADE_OF, "format": 2},
        {**MADE_OF, "work": "sha256:2"},
        {**MADE_OF, "runtime": {"name": "fake", "build": ""}},
        {**MADE_OF, "more": None},
    ]

    names = {name_entry(made_of) for made_of in [MADE_OF, *changed]}

    assert len(names) == 5
    assert name_entry(dict(reversed(MADE_OF.items()))) == name_entry(MADE_OF)
    assert name_entry(MADE_OF).isalnum()
