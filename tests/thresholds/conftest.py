"""A team's directory beside which thresholds are written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's directory, with a file of items in it."""
    (tmp_path / "own.jsonl").write_text('{"prompt": "2 + 2 =", "answer": " 4"}\n')
    return tmp_path
