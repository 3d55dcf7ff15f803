"""Entries of the reference store: whole or absent, and trusted to the byte."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.artifacts.digest import name_entry
from qgate.errors import MeasurementError
from qgate.reference.entries import put_in_place, read_entry, write_entry

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {"stride": 3, "self_kl_nats": 1.5e-7, "facts": {"n_vocab": 64}, "name": "é"}


def make(place: Path, seed: int = 0, size: int = 20) -> Path:
    place.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    np.save(place / "ids.npy", rng.integers(0, 64, size))
    np.save(place / "nll.npy", rng.random(size))
    write_entry(place, FACTS)
    return place


def test_an_entry_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = read_entry(make(tmp_path / "entry"))

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
            assert read_entry(path.parent) is None, (place, flip)
    for cut in (0, 1, len(intact) // 2, len(intact) - 1):
        path.write_bytes(intact[:cut])
        assert read_entry(path.parent) is None
    path.write_bytes(intact + b"\n")
    assert read_entry(path.parent) is None

    path.write_bytes(intact)
    assert read_entry(path.parent) is not None


NOT_ENTRIES = ["", "[]", "null", "{}", '"entry"', "[" * 100_000, '{"arrays": []}', '{"arrays": 1}']


@pytest.mark.parametrize("text", NOT_ENTRIES, ids=lambda text: text[:15] or "nothing")
def test_what_is_no_entry_is_absent(tmp_path: Path, text: str) -> None:
    make(tmp_path / "entry")
    (tmp_path / "entry" / "entry.json").write_text(text)

    assert read_entry(tmp_path / "entry") is None


def test_a_lost_array_and_a_lost_directory_are_absent_entries(tmp_path: Path) -> None:
    make(tmp_path / "entry")
    (tmp_path / "entry" / "nll.npy").unlink()
    (tmp_path / "file").write_text("")

    assert read_entry(tmp_path / "entry") is None
    assert read_entry(tmp_path / "nowhere") is None
    assert read_entry(tmp_path / "file") is None


def test_an_intact_entry_is_never_replaced(tmp_path: Path) -> None:
    place = make(tmp_path / "entry", seed=1)
    before = {path: (path.stat().st_ino, path.read_bytes()) for path in place.iterdir()}

    stands = put_in_place(make(tmp_path / "work", seed=2), place)

    assert stands == read_entry(place)
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

    stands = put_in_place(make(tmp_path / "store" / "work", seed=2), place)

    assert stands == read_entry(place)
    assert (np.load(place / "ids.npy") == np.random.default_rng(2).integers(0, 64, 20)).all()
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [".lock", "entry"]


def test_a_store_that_cannot_be_written_to_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "absent" / "entry"

    with pytest.raises(MeasurementError) as caught:
        put_in_place(make(tmp_path / "work"), place)

    assert str(caught.value) == (
        f"{place}: cannot be put into the store: not writable, or not lockable"
    )


@pytest.mark.parametrize("is_damaged", [False, True])
def test_many_at_once_all_get_the_one_that_stands(tmp_path: Path, is_damaged: bool) -> None:
    runs, store = 6, tmp_path / "store"
    for turn in range(50):
        place = store / f"entry{turn}"
        works = [make(store / f"work{turn}-{run}") for run in range(runs)]
        if is_damaged:
            (make(place) / "ids.npy").write_bytes(b"x")
        together = threading.Barrier(runs)

        def put(
            work: Path, place: Path = place, together: threading.Barrier = together
        ) -> dict[str, object]:
            together.wait()
            return put_in_place(work, place)

        with ThreadPoolExecutor(runs) as pool:
            found = list(pool.map(put, works))

        assert all(entry == read_entry(place) for entry in found)
        assert read_entry(place) is not None


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    kept = tmp_path / "kept.txt"
    kept.write_text("not a lock")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / ".lock").symlink_to(kept)

    with pytest.raises(MeasurementError, match="cannot be put into the store"):
        put_in_place(make(tmp_path / "store" / "work"), tmp_path / "store" / "entry")

    assert kept.read_text() == "not a lock"


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
