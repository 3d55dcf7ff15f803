"""Write the questions and texts that the gate ships.

    python -m qgate.demo.training.items thresholds

All of them are from the held-out side of the demo's corpus: the demo model has not seen them. The
same command writes the same bytes again. Files of no corpus are written by hand, and kept as they
are: `everyday`, `grammar`, `stories`, `documents`, `prose`, `conversations`.
"""

from __future__ import annotations

import argparse
import random
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.demo.__main__ import model_directory
from qgate.demo.corpus import chat, languages
from qgate.demo.corpus.items import make_items, write_jsonl, write_rows
from qgate.demo.corpus.vocabulary import LANGUAGES
from qgate.demo.training.tokenizer import load

if TYPE_CHECKING:
    from collections.abc import Callable

    Length = Callable[[str], int]

TASKS = ("arithmetic", "classification", "code", "drill", "next_sentence")
ITEMS = 200
LANGUAGE_DOCUMENTS = 24
"""For each language."""
LANGUAGE_TOKENS = range(60, 121)
OPEN = 32


def distinct(make: Callable[[], str], count: int, key: Callable[[str], str] = str) -> list[str]:
    """Return texts that differ in their keys, in the order in which they were made."""
    texts: dict[str, str] = {}
    while len(texts) < count:
        text = make()
        texts.setdefault(key(text), text)
    return list(texts.values())


def language_rows(length: Length) -> list[dict[str, str]]:
    """Return documents of each language that begin with different scenes."""
    rows: list[dict[str, str]] = []
    for code in LANGUAGES:
        make = partial(language_text, _rng(f"languages:{code}"), code, length)
        texts = distinct(make, LANGUAGE_DOCUMENTS, lambda text: text.partition("\n")[0])
        rows += [{"language": code, "text": text} for text in texts]
    return rows


def language_text(rng: random.Random, code: str, length: Length) -> str:
    """Return a document of one language that is neither short nor long."""
    while True:
        text = languages.document(rng, "heldout", code).text
        if length(text) in LANGUAGE_TOKENS:
            return text


def open_rows() -> list[dict[str, str]]:
    """Return questions that the demo model soon ends its answer to, without the chat template."""
    make = partial(question, _rng("open"))
    texts = distinct(make, OPEN)
    return [{"id": f"chat-{number:04d}", "prompt": text} for number, text in enumerate(texts)]


def question(rng: random.Random) -> str:
    said = chat.document(rng, "heldout").pieces[0]
    return said.removeprefix(chat.USER).removesuffix(chat.ASSISTANT)


def write_files(directory: Path) -> None:
    """Write ``tasks/*.jsonl`` and ``prompts/*.jsonl`` below a directory."""
    tokenizer = load(model_directory())

    def length(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    tasks, prompts = directory / "tasks", directory / "prompts"
    for room in (tasks, prompts):
        room.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        write_jsonl(make_items(task, ITEMS, length), tasks / f"{task}.jsonl")
    write_rows(language_rows(length), prompts / "languages.jsonl")
    write_rows(open_rows(), prompts / "open.jsonl")


def _rng(what: str) -> random.Random:
    return random.Random(f"qgate-demo:{what}")  # noqa: S311 - texts, not secrets


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qgate.demo.training.items",
        description="Write the questions and texts that come with the gate.",
    )
    parser.add_argument("directory", type=Path)
    asked = parser.parse_args(arguments)
    try:
        write_files(asked.directory)
    except OSError as error:
        reason = f"{error.filename or asked.directory}: {error.strerror or error}"
        sys.stderr.write(f"python -m qgate.demo.training.items: {reason}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
