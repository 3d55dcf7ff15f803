"""The demo model's own tasks with items enough to certify them, and the limits that ask for it.

``python -m qgate.demo`` writes them beside the models, as a user would:

    pytest --qgate demo-models --qgate-thresholds demo-models/certify.yaml
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.items import make_items, write_jsonl
from qgate.demo.corpus.vocabulary import WELL_KNOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from qgate.demo.corpus.document import Item

ITEMS = 500
FILE = "certify.yaml"
_FLIP_RATE = 0.005
"""Measured on 1,000 items of each task: Q8_0 flips 0 to 0.5 % of the answers."""
_PARTS = {
    "arithmetic": ("arithmetic",),
    "classification": ("classification",),
    "next_sentence": ("next_sentence",),
    "code": ("code",),
    "recall": ("recall_near", "recall_middle"),
    "languages": tuple(f"language_{code}" for code in WELL_KNOWN),
}
"""Kinds of items by task, each in equal shares."""
_HEAD = f"""\
# The demo model's own tasks, certified: an artifact passes where it is shown to lose no more than 2
# points. {ITEMS} items each suffice for that where few answers flip: Q8_0 flips 0 to 0.5 % of them.
version: 1
tasks:
"""


def items_of(task: str, count: int, length: Callable[[str], int]) -> list[Item]:
    """`count` different items of a task, its kinds in turns.

    Args:
        task: one of the tasks that are certified.
        count: how many.
        length: number of tokens of a text.
    """
    kinds = _PARTS[task]
    each = -(-count // len(kinds))
    made = [make_items(kind, each, length, seed=1) for kind in kinds]
    mixed: Sequence[Item] = [item for turn in zip(*made, strict=True) for item in turn]
    return list(mixed[:count])


def write_certify(directory: Path, length: Callable[[str], int]) -> Path:
    """Write ``tasks/*.jsonl`` and the limits beside the models; return the limits' path."""
    (directory / "tasks").mkdir(parents=True, exist_ok=True)
    lines = []
    for task in _PARTS:
        write_jsonl(items_of(task, ITEMS, length), directory / "tasks" / f"{task}.jsonl")
        said = f"file: tasks/{task}.jsonl, max_drop: 0.02, flip_rate: {_FLIP_RATE}"
        lines.append(f"  {task}: {{{said}}}\n")
    path = directory / FILE
    path.write_text(_HEAD + "".join(lines), encoding="utf-8", newline="\n")
    return path
