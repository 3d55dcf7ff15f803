"""Tasks by lm-eval's own names, of few items, for whatever runtime serves a model.

`arc_easy` and `gsm8k` are public ones that the demo's model cannot know; `reversed_words` is asked
on its own sums, which it can do: an answer that went wrong on the way would be seen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from tests.conftest import ROOT, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.plugin.conftest import Outcome

PUBLIC = SHARED / "data" / "tasks"
FEW = 24
MOST_BYTES = 300
"""Of a public item: a byte or less a token, with its answer it fits a context of 512 tokens."""
LETTERS = "ABCDEFGH"
MADE_TOKENS = {"gsm8k": 32, "reversed_words": 24}
METRICS = {
    "arc_easy": "acc",
    "gsm8k": "exact_match,flexible-extract",
    "reversed_words": "exact_match",
}
KNOWN = "reversed_words"
"""What the demo's model can do."""
TASKS = f"""
tasks:
  arc_easy: {{data: arc_easy.jsonl, num_fewshot: 0, metric: acc, min_reference: 0, max_drop: 0.05,
    rule: alarm}}
  gsm8k: {{data: gsm8k.jsonl, num_fewshot: 0, metric: "exact_match,flexible-extract",
    max_tokens: {MADE_TOKENS["gsm8k"]}, min_reference: 0, max_drop: 0.05, rule: alarm}}
  reversed_words: {{data: reversed_words.jsonl, num_fewshot: 0, min_reference: 0.3,
    max_tokens: {MADE_TOKENS["reversed_words"]}, max_drop: 0.05, rule: alarm}}
"""


def write_tasks(directory: Path, more: str) -> Path:
    """A thresholds file of these tasks and nothing else, their data beside it."""
    if not PUBLIC.is_dir():
        pytest.skip("no shared/data/tasks beside the repository")
    pytest.importorskip("lm_eval", reason="needs lm-eval")
    _write(directory / "arc_easy.jsonl", _choices())
    _write(directory / "gsm8k.jsonl", _rows(PUBLIC / "gsm8k" / "test.jsonl"))
    _write(directory / "reversed_words.jsonl", _sums())
    path = directory / "limits.yaml"
    path.write_text(f"version: 1\ninherit: none\n{more}\n{TASKS}", encoding="utf-8")
    return path


def settings_of(name: str, directory: Path) -> HarnessSettings:
    """How that file asks one of them."""
    return HarnessSettings(
        name=name,
        data=directory / f"{name}.jsonl",
        num_fewshot=0,
        metric=METRICS[name],
        max_tokens=MADE_TOKENS.get(name),
    )


def rows_of(seen: Outcome) -> dict[str, dict[str, Any]]:
    """The rows of the one artifact of a run, by the names of their tasks."""
    assert "Traceback" not in seen.text, seen.text
    (artifact,) = seen.report()["artifacts"]
    return {row["name"].removeprefix("accuracy."): row for row in artifact["checks"]}


def _write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The first few that are short enough, one a line."""
    lines = (json.dumps(row, ensure_ascii=False) for row in rows)
    short = (line for line in lines if len(line.encode()) < MOST_BYTES)
    chosen = [line for _, line in zip(range(FEW), short, strict=False)]
    assert len(chosen) == FEW
    path.write_text("".join(f"{line}\n" for line in chosen), encoding="utf-8")


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def _choices() -> Iterator[dict[str, Any]]:
    """In the fields of the set that lm-eval's `arc_easy` is asked on."""
    for row in _rows(PUBLIC / "arc" / "arc_easy.jsonl"):
        labels = list(LETTERS[: len(row["choices"])])
        yield {
            "question": row["question"],
            "choices": {"text": row["choices"], "label": labels},
            "answerKey": labels[row["label"]],
        }


def _sums() -> Iterator[dict[str, Any]]:
    for row in _rows(ROOT / "thresholds" / "tasks" / "arithmetic.jsonl"):
        yield {"context": row["prompt"], "completion": row["answer"]}
