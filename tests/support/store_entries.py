"""Entries of a store as its tests make them: small, of a known size, by a known name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.artifacts.digest import name_entry
from qgate.reference.entries import read_entry
from qgate.reference.signing import find_key
from tests.support.references import entries, signed_place

if TYPE_CHECKING:
    from collections.abc import Callable

KB = 1000
NOT_OURS = (
    "store: {}: got entries that are damaged, or not signed with this key; they are measured again."
    " Who shares a store shares QGATE_STORE_KEY"
)
NAMES = [name_entry({"number": number}) for number in range(6)]


def read(place: Path) -> dict[str, Any] | None:
    return read_entry(place, find_key(os.environ))


def names(directory: Path) -> list[str]:
    """Of what lies there; of entries without the key's."""
    suffix = signed_place(Path(), "").name
    return [name.removesuffix(suffix) for name in entries(directory)]


def fill(place: Path, seed: int = 0) -> dict[str, Any]:
    np.save(place / "ids.npy", np.random.default_rng(seed).integers(0, 64, 20))
    return {"stride": seed}


def fill_kb(count: int) -> Callable[[Path], dict[str, Any]]:
    def save(place: Path) -> dict[str, Any]:
        (place / "answer.json").write_bytes(b"x" * count * KB)
        return {}

    return save
