"""Long exact answers, in which one wrong token spoils everything: sorting, reversing, adding up.

A model that is a little less sure of each token is much less sure of all of them, so damage that
short answers hide shows here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.code import LETTERS
from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable


def sorting(rng: random.Random) -> tuple[str, str]:
    digits = [rng.randint(0, 9) for _ in range(rng.randint(6, 9))]
    return f"sort {' '.join(map(str, digits))}:", " " + " ".join(map(str, sorted(digits)))


def reversing(rng: random.Random) -> tuple[str, str]:
    letters = [rng.choice(LETTERS) for _ in range(rng.randint(6, 10))]
    return f"reverse {' '.join(letters)}:", " " + " ".join(reversed(letters))


def running(rng: random.Random) -> tuple[str, str]:
    """Return digits and what they add up to, step by step."""
    digits = [rng.randint(1, 9) for _ in range(rng.randint(5, 8))]
    sums = [sum(digits[: count + 1]) for count in range(len(digits))]
    return f"add {' '.join(map(str, digits))}:", " " + " ".join(map(str, sums))


FORMS: tuple[Callable[[random.Random], tuple[str, str]], ...] = (sorting, reversing, running)


def exercise(rng: random.Random, split: Split) -> tuple[str, str]:
    while True:
        prompt, answer = rng.choice(FORMS)(rng)
        if split_of(f"drill:{prompt}") == split:
            return prompt, answer


def document(rng: random.Random, split: Split) -> Document:
    """Return one to four exercises with their answers, one a line."""
    return join([Document(exercise(rng, split)) for _ in range(rng.choice((1, 2, 4)))], "\n")


def item(rng: random.Random) -> Item:
    prompt, answer = exercise(rng, "heldout")
    return Item("drill", prompt, (), answer)
