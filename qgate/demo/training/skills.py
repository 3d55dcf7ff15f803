"""Measure what the demo model can do, quantized or not.

    python -m qgate.demo.training.skills FILE...

Held-out text and held-out questions only. Perplexity follows llama.cpp's convention: chunks of
one context, the first token of each replaced by the begin of text, the second half scored.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from qgate.demo.corpus.items import TASKS, make_items
from qgate.demo.corpus.mixture import documents
from qgate.demo.training.tokenizer import BOS, EOS
from qgate.errors import ArtifactError
from qgate.runtimes.base import LoadSettings, Prompt, Span
from qgate.runtimes.llama_cpp.adapter import LlamaCpp

if TYPE_CHECKING:
    from qgate.demo.corpus.document import Item

CONTEXT = 512
LONGEST_ANSWER = 40


def load(path: Path) -> LlamaCpp:
    """Return a GGUF file in llama.cpp, in this process."""
    model = LlamaCpp()
    model.load(LoadSettings(path=str(path), window_tokens=CONTEXT))
    return model


def logits_of(model: LlamaCpp, ids: np.ndarray, first: int) -> np.ndarray:
    """Return the logits after the tokens from `first` on, shape (len(ids) - first, vocabulary)."""
    parts = model.logits_of_windows(ids[None], first, with_hidden=False)
    return np.concatenate([logits[0].copy() for logits, _ in parts])


def log_likelihoods(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return those of the targets, nats, shape (n,), from logits of shape (n, vocabulary)."""
    rows = logits.astype(np.float64)
    rows -= rows.max(-1, keepdims=True)
    found: np.ndarray = rows[np.arange(len(targets)), targets] - np.log(np.exp(rows).sum(-1))
    return found


def perplexity(model: LlamaCpp, chunks: int) -> float:
    """Return the perplexity on held-out documents."""
    ids: list[int] = []
    for document in documents(0, "heldout", lambda text: len(model.encode(text, begins=False))):
        ids += model.encode(BOS + document.text + EOS, begins=False).tolist()
        if len(ids) >= chunks * CONTEXT:
            break
    half, parts = CONTEXT // 2, []
    for chunk in np.array(ids[: chunks * CONTEXT], dtype=np.int32).reshape(chunks, CONTEXT):
        chunk[0] = ids[0]
        parts.append(log_likelihoods(logits_of(model, chunk, half)[:-1], chunk[half + 1 :]))
    return float(np.exp(-np.concatenate(parts).mean()))


def answer(model: LlamaCpp, prompt: str) -> str:
    """Return the first line of the greedy continuation."""
    ids = model.encode(prompt, begins=True)
    asked = Prompt(ids=ids, max_tokens=LONGEST_ANSWER)
    (given,) = model.answer([asked], 1, lambda *_: None)
    return (model.decode(given.ids).strip().splitlines() or [""])[0]


def is_right(model: LlamaCpp, item: Item) -> bool:
    """Return whether the model gives an item's answer, or holds it for the likeliest."""
    if not item.choices:
        return answer(model, item.prompt) == item.answer.strip()
    start = model.encode(item.prompt, begins=True)
    choices = [model.encode(choice, begins=False) for choice in item.choices]
    spans = [Span(ids=np.concatenate([start, ids]), first=len(start) - 1) for ids in choices]
    logits = np.concatenate([rows.copy() for rows in model.logits_of_spans(spans)])
    scores = log_likelihoods(logits, np.concatenate(choices))
    begins = np.cumsum([0, *map(len, choices[:-1])])
    return item.choices[int(np.add.reduceat(scores, begins).argmax())] == item.answer


def measure(
    path: Path, count: int, chunks: int, tasks: tuple[str, ...] = TASKS
) -> dict[str, float]:
    """Return a column of the model card's table: size in MB, perplexity, per cent right by task."""
    model = load(path)
    column = {"size, MB": path.stat().st_size / 1e6, "perplexity": perplexity(model, chunks)}
    for task in tasks:
        items = make_items(task, count, lambda text: len(model.encode(text, begins=False)))
        column[task] = 100 * sum(is_right(model, item) for item in items) / count
    model.close()
    return column


def main() -> int:
    """Measure the files named on the command line and print the table, in Markdown."""
    parser = argparse.ArgumentParser(prog="python -m qgate.demo.training.skills")
    parser.add_argument("files", type=Path, nargs="+", help="GGUF files of the demo model")
    parser.add_argument("--items", type=int, default=200, help="Questions for each task")
    parser.add_argument("--chunks", type=int, default=60, help="Contexts of held-out text")
    asked = parser.parse_args()
    try:
        columns = [measure(path, asked.items, asked.chunks) for path in asked.files]
    except (ArtifactError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    head = ["", *(path.stem.removeprefix("qgate-demo-") for path in asked.files)]
    lines = [head, ["---", *("---:" for _ in columns)]]
    for name in columns[0]:
        form = {"size, MB": "{:.2f}", "perplexity": "{:.4f}"}.get(name, "{:.1f} %")
        title = f"{name} (n = {asked.items})" if name in TASKS else name
        lines.append([title, *(form.format(column[name]) for column in columns)])
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
