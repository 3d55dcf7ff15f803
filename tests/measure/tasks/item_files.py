"""Files of items for tests: lines of them, and what is read of a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qgate.measure.tasks.items import ItemFile, read_items

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLE = """expected JSON lines such as {"prompt": "2 + 2 =", "answer": " 4"}."""
GOOD = '{"prompt": "2 + 2 =", "answer": " 4"}\n'
CHOICE = '{"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"}\n'


def read(tmp_path: Path, content: str | bytes, *, max_samples: int | None = None) -> ItemFile:
    path = tmp_path / "items.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_items(path, "items.jsonl", max_samples=max_samples)


def row(**values: object) -> str:
    return json.dumps(values) + "\n"
