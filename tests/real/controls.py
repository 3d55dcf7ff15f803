"""Copies of a sound GGUF file that differ in everything but the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.plugin.planting import rewrite
from tests.real.gating import place

if TYPE_CHECKING:
    from pathlib import Path

TENSORS_A_FILE = 100
CONTROLS = ("another-name", "other-order", "saved-again", "in-shards")


def write_controls(source: Path, directory: Path) -> None:
    """A copy under another name, one in another order, one written again, one in several files."""
    directory.mkdir(parents=True, exist_ok=True)
    place(source, directory / "another-name.gguf")
    rewrite(source, directory / "other-order.gguf", is_reversed=True)
    rewrite(source, directory / "saved-again.gguf")
    rewrite(source, directory / "in-shards.gguf", tensors_a_file=TENSORS_A_FILE)
