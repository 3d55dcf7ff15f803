"""Numbers noted somewhere in a text and asked for at its end, up to a whole context away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus import arithmetic, classify, code, languages, story
from qgate.demo.corpus.document import Document, Item, Split, join

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    Length = Callable[[str], int]

KEYS = (
    "fox", "bear", "wolf", "deer", "hare", "goat", "lamb", "crow", "swan", "frog",
    "toad", "carp", "moth", "wasp", "lynx", "seal", "duck", "hawk", "mole", "crab",
)  # fmt: skip
BUCKETS = {"near": (10, 60), "middle": (60, 200), "far": (200, 350), "edge": (350, 480)}
"""Distance in tokens between the end of the note and the question, from, to."""
FILLERS: tuple[Callable[[random.Random, Split], Document], ...] = (
    story.document,
    arithmetic.document,
    classify.document,
    code.document,
    languages.document,
)
ROW = 500
"""Longest recall document in tokens: a whole context, less room for the answer."""


def pairs(rng: random.Random, count: int) -> list[tuple[str, str]]:
    """Return animals with a two-digit number each."""
    return [(key, f"{rng.randint(10, 99)}") for key in rng.sample(KEYS, count)]


def note(key: str, number: str) -> Document:
    return Document((f"Note: the {key} has {number}.",))


def query(key: str, number: str) -> Document:
    return Document((f"Recall: the {key} has", f" {number}"))


def filler(rng: random.Random, split: Split) -> Document:
    return rng.choice(FILLERS)(rng, split)


def short(rng: random.Random, split: Split) -> Document:
    """Return notes and questions close together, with at most one other text between."""
    planted = pairs(rng, rng.choice((2, 3, 4, 5, 8)))
    asked = rng.sample(planted, len(planted))
    between = [filler(rng, split)] if rng.random() < 0.15 else []
    notes = [note(*pair) for pair in planted]
    return join([*notes, *between, *(query(*pair) for pair in asked)], "\n")


def document(rng: random.Random, split: Split, length: Length) -> Document:
    """Return a text as long as the context with notes anywhere and questions at the end."""
    planted = pairs(rng, rng.randint(4, 12))
    asked = [query(*pair) for pair in rng.sample(planted, len(planted))]
    parts = [note(*pair) for pair in planted]
    size = sum(length(part.text) + 1 for part in (*parts, *asked))
    target = rng.randint(100, ROW) if rng.random() < 0.3 else ROW
    while True:
        extra = filler(rng, split)
        size += length(extra.text) + 1
        if size > target:
            break
        parts.append(extra)
    rng.shuffle(parts)
    return join([*parts, *asked], "\n")


def item(rng: random.Random, length: Length, bucket: str | None = None) -> Item:
    """Return a held-out text that asks for one number noted the bucket's distance before."""
    name = bucket or rng.choice(sorted(BUCKETS))
    low, high = BUCKETS[name]
    while True:
        planted = pairs(rng, 4)
        wanted, *others = planted
        aim = rng.randint(low, high)
        after = _about(rng, others[:2], length, aim)
        before = _about(rng, others[2:], length, max(0, ROW - 30 - aim))
        ask, answer = query(*wanted).pieces
        tail = "\n" + "\n".join([*after, ask])
        head = "\n".join([*before, note(*wanted).text])
        if low <= length(tail) <= high and length(head + tail) <= ROW:
            return Item(f"recall_{name}", head + tail, (), answer)


def _about(
    rng: random.Random, notes: list[tuple[str, str]], length: Length, target: int
) -> list[str]:
    """Return texts of about `target` tokens together: some of the notes, then fillers."""
    parts: list[str] = []
    size = 10
    for pair in notes:
        text = note(*pair).text
        if size + length(text) + 1 <= target:
            parts.append(text)
            size += length(text) + 1
    misses = 0
    while misses < 4:
        text = filler(rng, "heldout").text
        if size + length(text) + 1 <= target:
            parts.append(text)
            size += length(text) + 1
        else:
            misses += 1
    rng.shuffle(parts)
    return parts
