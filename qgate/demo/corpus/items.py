"""Held-out questions of every task, and writing them as JSONL."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from qgate.demo.corpus import (
    arithmetic,
    classify,
    code,
    drill,
    languages,
    recall,
    story,
)
from qgate.demo.corpus.vocabulary import LANGUAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from qgate.demo.corpus.document import Item

PLAIN = {
    "arithmetic": arithmetic.item,
    "classification": classify.item,
    "code": code.item,
    "drill": drill.item,
    "next_sentence": story.item,
}
TASKS = (
    *PLAIN,
    *(f"recall_{bucket}" for bucket in recall.BUCKETS),
    *(f"language_{code}" for code in LANGUAGES),
)


def make_item(task: str, rng: random.Random, length: Callable[[str], int]) -> Item:
    """Return one held-out question.

    Args:
        task: one of `TASKS`.
        rng: source of chance.
        length: number of tokens of a text, for the distances of recall.
    """
    if task in PLAIN:
        return PLAIN[task](rng)
    kind, _, which = task.partition("_")
    if kind == "recall":
        return recall.item(rng, length, which)
    return languages.item(rng, which)


def make_items(task: str, count: int, length: Callable[[str], int], seed: int = 0) -> list[Item]:
    """Return different questions of one task, always the same for the same seed.

    Raises:
        ValueError: the task has not so many.
    """
    rng = random.Random(f"qgate-demo:{task}:{seed}")  # noqa: S311 - questions, not secrets
    items: dict[tuple[str, str], Item] = {}
    for _ in range(50 * count):
        item = make_item(task, rng, length)
        items.setdefault((item.prompt, item.answer), item)
        if len(items) == count:
            return list(items.values())
    raise ValueError(f"{task}: too few different items: got {len(items)}; expected {count}.")


def write_jsonl(items: list[Item], target: Path) -> None:
    """Write one question a line: id, task, prompt, choices, answer."""
    rows = [
        {
            "id": f"{item.task}-{number:04d}",
            "task": item.task,
            "prompt": item.prompt,
            "choices": list(item.choices),
            "answer": item.answer,
        }
        for number, item in enumerate(items)
    ]
    write_rows(rows, target)


def write_rows(rows: Sequence[Mapping[str, object]], target: Path) -> None:
    """Write one JSON object a line, the same bytes on every system."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    text = "".join(f"{line}\n" for line in lines)
    target.write_text(text, encoding="utf-8", newline="\n")
