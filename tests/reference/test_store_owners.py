"""Whose entries a store holds: of another key, of another user, of nobody."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from qgate.reference.signing import Key
from qgate.reference.store import Store
from tests.support.references import entries
from tests.support.store_entries import NAMES, NOT_OURS, fill


def test_entries_of_another_key_are_made_again_which_is_said_once(tmp_path: Path) -> None:
    theirs = Store(tmp_path, key=Key(secret=b"a key of somebody else's, 32 bytes too"))
    theirs.keep(NAMES[0], lambda place: fill(place, seed=1))
    theirs.keep(NAMES[1], lambda place: fill(place, seed=1))
    store = Store(tmp_path)

    found = [store.get_or_make(name, fill) for name in (*NAMES[:2], *NAMES[:2])]

    assert [one.was_there for one in found] == [False, False, True, True]
    assert {one.facts["stride"] for one in found} == {0}
    assert store.notes == (NOT_OURS.format(tmp_path),)
    kept = theirs.find(NAMES[0])
    assert kept is not None  # who has that key may be reading it
    assert kept.facts["stride"] == 1


def test_an_unsigned_entry_is_made_again(tmp_path: Path) -> None:
    signed = Store(tmp_path).get_or_make(NAMES[0], fill).place
    signed.rename(tmp_path / NAMES[0])
    store = Store(tmp_path)

    assert not store.get_or_make(NAMES[0], fill).was_there
    assert store.notes == (NOT_OURS.format(tmp_path),)


def test_without_a_key_that_lasts_a_run_goes_on_and_keeps_nothing(tmp_path: Path) -> None:
    Store(tmp_path).keep(NAMES[0], fill)
    before = sorted(tmp_path.iterdir())
    store = Store(tmp_path, key=Key(secret=bytes(32), problem="Could not determine home directory"))

    store.keep(NAMES[1], fill)
    made = store.get_or_make(NAMES[0], lambda place: fill(place, seed=1))

    assert made.facts["stride"] == 1
    assert sorted(tmp_path.iterdir()) == before
    assert store.notes[0] == (
        "store: nothing is kept for later runs: no key to sign it with (Could not determine home"
        " directory). Mend that, or set QGATE_STORE_KEY"
    )
    store.close()


_ANOTHER_USER = """
import os, sys
from pathlib import Path
from qgate.reference.store import Store, require_usable
os.umask(int(sys.argv[3], 8))
os.setgroups([7777])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
require_usable(Path(sys.argv[1]))
store = Store(Path(sys.argv[1]), limit_bytes=3000)
def make(work):
    (work / "answer.json").write_text("x" * 2000)
    return {"by": os.getuid()}
for name in sys.argv[4:]:
    print(name[0], store.get_or_make(name, make).facts["by"], *store.notes)
    store.close()
"""


@pytest.mark.parametrize(("umask", "is_dropped"), [("022", False), ("002", True)])
def test_two_users_share_a_store(
    monkeypatch: pytest.MonkeyPatch, umask: str, is_dropped: bool
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may be anybody")
    monkeypatch.setenv("QGATE_STORE_KEY", "k" * 40)
    with tempfile.TemporaryDirectory() as directory:  # pytest's are closed to others
        os.chown(directory, 0, 7777)
        Path(directory).chmod(0o2775)

        def run(user: int, *asked: str) -> list[str]:
            command = [sys.executable, "-c", _ANOTHER_USER, directory, str(user), umask, *asked]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.splitlines()

        assert run(54321, "a" * 32) == ["a 54321"]
        assert run(54322, "a" * 32) == ["a 54321"]
        [line] = run(54322, "b" * 32)
        assert line.startswith("b 54322")
        assert ("other users keep" in line) == (not is_dropped)
        assert [name[0] for name in entries(Path(directory))] == ["a", "b"][is_dropped:]
