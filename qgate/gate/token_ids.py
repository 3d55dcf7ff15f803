"""Do two runtimes turn the same text into the same token ids?

Headers can agree where programs do not: a tokenizer is data and the code that reads it. Asked where
artifact and reference are of different formats or served by different runtimes, of text in every
language that the shipped prompts are in, of chats, numbers, white space and code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.gate.reference import named
from qgate.reference.prompts import read_languages, read_prompts
from qgate.runtimes.requests import TokenizerClient
from qgate.thresholds import shipped_path
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from qgate.runtimes.served_model import ServedModel

_HARD = (
    "  two spaces,\ttab,\r\nlines\n\n\nand more  ",
    "1234567890 3.14 -7 1e-9 $5,000.00 0x1F",
    "def f(x):\n    return {'a': [x, x ** 2]}  # why?",
    "Straße, naïve, I'm, we'll, ﬁ, Å, é",
    "👍🏽 🇩🇪 日本語 العربية हिन्दी",
    # where rules that split a text are known to differ: case, contractions, slashes, other digits
    "camelCase HTTPServer snake_case iPhone12 I'LL DON'T it's",
    "path/to\n/file  \r\n\r\n\t\tend",
    "١٢٣ \uff14\uff15 ² x12345y 100000000000 12,345.67",
    "<|im_start|>user\nHi<|im_end|>\n<s>[INST] x [/INST]</s>",
    # every sign on its own: two whose ids are swapped are hardly seen in words
    "\n".join(map(chr, range(33, 127))),
)
_SHOWN_CHARACTERS = 40


def difference_in_ids(serving: ServedModel, reference: ServedModel) -> str:
    """The first text whose ids differ, with ids and runtimes; empty where none does.

    Raises:
        QGateError: a runtime cannot be asked.
    """
    texts = _texts()
    found = _encode(serving, texts)
    with named(reference):
        wanted, home = _encode(reference, texts), reference.describe().name
    for text, own, theirs in zip([*texts, *texts], found, wanted, strict=True):
        if not np.array_equal(own, theirs):
            at = next(
                (at for at, (a, b) in enumerate(zip(own, theirs, strict=False)) if a != b),
                min(len(own), len(theirs)),
            )
            return (
                f"{quoted(text[:_SHOWN_CHARACTERS])}: got {own[at : at + 4].tolist()} at token"
                f" {at} in {serving.describe().name}; expected {theirs[at : at + 4].tolist()} as in"
                f" {home}"
            )
    return ""


def _texts() -> tuple[str, ...]:
    prompts = shipped_path().parent / "prompts"
    languages = read_languages(prompts / "languages.jsonl")
    first = [documents[0] for documents in languages.values()]
    return (*first, *read_prompts(prompts / "open.jsonl"), *_HARD)


def _encode(serving: ServedModel, texts: tuple[str, ...]) -> list[np.ndarray]:
    facts = serving.load()
    tokenizer = TokenizerClient(serving.host, facts.context_length, facts.first_token)
    return [*tokenizer.begin(texts), *tokenizer.follow(texts)]
