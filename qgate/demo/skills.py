"""Measure what the demo model can do, quantized or not: ``python -m qgate.demo.skills FILE...``.

Held-out text and held-out questions only. Perplexity follows llama.cpp's convention: chunks of
one context, the first token of each replaced by the begin of text, the second half scored.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.demo.corpus.items import TASKS, make_items
from qgate.demo.corpus.mixture import documents
from qgate.demo.runtime import CONTEXT, LoadError, Model

if TYPE_CHECKING:
    from qgate.demo.corpus.document import Item


@dataclass(frozen=True, slots=True)
class Skills:
    """What was measured on one file."""

    name: str
    size_bytes: int
    perplexity: float
    accuracy: dict[str, float]
    """Share of right answers by task."""


def held_out_chunks(model: Model, count: int) -> list[list[int]]:
    """Return held-out documents as chunks of one context."""
    ids: list[int] = []
    for document in documents(0, "heldout", lambda text: len(model.encode(text))):
        ids += [model.bos, *model.encode(document.text), model.eos]
        if len(ids) >= count * CONTEXT:
            break
    chunks = [ids[at * CONTEXT : (at + 1) * CONTEXT] for at in range(count)]
    return [[model.bos, *chunk[1:]] for chunk in chunks]


def perplexity(model: Model, chunks: int) -> float:
    """Return the perplexity on held-out text."""
    scored = [model.second_half(chunk) for chunk in held_out_chunks(model, chunks)]
    return math.exp(sum(float(nll.sum()) for nll in scored) / sum(len(nll) for nll in scored))


def is_right(model: Model, item: Item) -> bool:
    """Return whether the model gives an item's answer."""
    if not item.choices:
        return model.answer(item.prompt) == item.answer.strip()
    scores = model.score(item.prompt, item.choices)
    return item.choices[scores.index(max(scores))] == item.answer


def accuracy(model: Model, task: str, count: int) -> float:
    """Return the share of a task's first `count` held-out items that are answered rightly."""
    items = make_items(task, count, lambda text: len(model.encode(text)))
    return sum(is_right(model, item) for item in items) / count


def measure(path: Path, count: int, chunks: int, tasks: tuple[str, ...] = TASKS) -> Skills:
    """Return the skills of one GGUF file."""
    model = Model(path)
    try:
        scores = {task: accuracy(model, task, count) for task in tasks}
        return Skills(path.stem, path.stat().st_size, perplexity(model, chunks), scores)
    finally:
        model.close()


def table(measured: list[Skills], count: int) -> str:
    """Return a Markdown table: a row for each measure, a column for each file."""
    head = ["", *(skills.name.removeprefix("qgate-demo-") for skills in measured)]
    lines = [head, ["---", *("---:" for _ in measured)]]
    lines.append(["size, MB", *(f"{skills.size_bytes / 1e6:.2f}" for skills in measured)])
    lines.append(["perplexity", *(f"{skills.perplexity:.4f}" for skills in measured)])
    lines += [
        [f"{task} (n = {count})", *(f"{100 * skills.accuracy[task]:.1f} %" for skills in measured)]
        for task in measured[0].accuracy
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    """Measure the files named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m qgate.demo.skills")
    parser.add_argument("files", type=Path, nargs="+", help="GGUF files of the demo model")
    parser.add_argument("--items", type=int, default=200, help="Questions for each task")
    parser.add_argument("--chunks", type=int, default=60, help="Contexts of held-out text")
    asked = parser.parse_args()
    try:
        measured = [measure(path, asked.items, asked.chunks) for path in asked.files]
    except (LoadError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(table(measured, asked.items))
    return 0


if __name__ == "__main__":
    sys.exit(main())
