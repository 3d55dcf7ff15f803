"""Rows of docs for tests, and the one line in which loading a task is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import ThresholdsError
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task

if TYPE_CHECKING:
    from pathlib import Path


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(count)]


def gsm8k(count: int) -> list[dict[str, Any]]:
    return [
        {"question": f"What is {number} + 1?", "answer": f"A sum.\n#### {number + 1}"}
        for number in range(count)
    ]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def message_of(**settings: Any) -> str:
    with pytest.raises(ThresholdsError) as caught:
        load_task(HarnessSettings(**settings))
    line = str(caught.value)
    assert "\n" not in line
    return line
