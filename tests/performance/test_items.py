"""What it costs to check every line of a task's items while pytest collects, against `json`.

The peer reads the same lines with `json.loads` and looks at nothing. Both run in turn, and the
median of their ratios counts, because single times on a shared machine are noise.
"""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

import pytest

from qgate.measure.tasks.items import read_items

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ITEMS = 1000
TURNS = 21


@pytest.mark.parametrize("choices", [[], [" a", " b", " c", " d"]], ids=["generated", "choices"])
def test_items_are_checked_at_a_small_multiple_of_reading_their_json(
    tmp_path: Path, choices: list[str]
) -> None:
    path = tmp_path / "items.jsonl"
    rows = [
        {"id": f"q-{at}", "prompt": f"Question {at}? " * 8, "choices": choices, "answer": " a"}
        for at in range(ITEMS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def only_json() -> None:
        assert len([json.loads(line) for line in path.read_text().splitlines()]) == ITEMS

    def checked() -> None:
        assert len(read_items(path, path.name).items) == ITEMS

    ratios = [seconds(checked) / seconds(only_json) for _ in range(TURNS)]
    assert statistics.median(ratios) < 10


def seconds(work: Callable[[], None]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
