"""Lists of words said twice: the densest way to learn looking back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.code import LETTERS
from qgate.demo.corpus.document import Document, Split
from qgate.demo.corpus.recall import KEYS
from qgate.demo.corpus.story import COLORS, NAMES, THINGS

if TYPE_CHECKING:
    import random

WORDS = (*KEYS, *NAMES, *COLORS, *THINGS)


def document(rng: random.Random, _split: Split) -> Document:
    """Return a list of random words or figures and the same list again."""
    many = rng.randint(4, 24)
    figures = "0123456789" + LETTERS
    kind = rng.randrange(3)
    said = "".join(
        f" {rng.choice(WORDS)}" if kind == 0 or (kind == 1 and rng.random() < 0.5)
        else f" {rng.choice(figures)}"
        for _ in range(many)
    )  # fmt: skip
    return Document((f"List:{said}\nAgain:", said))
