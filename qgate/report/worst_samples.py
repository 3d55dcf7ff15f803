"""The worst samples of a failing row, side by side: what was asked, what each side said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.report.text import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import Record

_PARTS = ("prompt", "expected", "reference", "artifact")
_MOST_CHARACTERS = 160


def show_worst(record: Record) -> str:
    """Lines for a terminal; empty where the row has no such samples.

    Prompts are cut at their beginning, for what is asked stands at their end.
    """
    worst = record.details.get("worst") or []
    return "\n\n".join("\n".join(_show(number, one)) for number, one in enumerate(worst, 1))


def _show(number: int, sample: dict[str, str]) -> Iterator[str]:
    for part in _PARTS:
        if part not in sample:
            continue
        text = escape_line(repr(sample[part])[1:-1])
        if len(text) > _MOST_CHARACTERS:
            is_prompt = part == "prompt"
            text = f"…{text[-_MOST_CHARACTERS:]}" if is_prompt else f"{text[:_MOST_CHARACTERS]}…"
        head = f"{number}. " if part == _PARTS[0] else "   "
        yield f"{head}{part:<9} {text}"
