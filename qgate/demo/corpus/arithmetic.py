"""Sums, differences and products of small numbers, bare and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random

SIGNS = {"add": "+", "sub": "-", "mul": "*"}
THINGS = ("apples", "coins", "books", "shells", "cards", "eggs")
PEOPLE = (("Anna", "She"), ("Ben", "He"), ("Clara", "She"), ("David", "He"), ("Emma", "She"))


def draw(rng: random.Random, split: Split) -> tuple[str, int, int, int]:
    """Return an operation, its operands and its result, from the wanted side."""
    while True:
        operation = rng.choices(("add", "sub", "mul"), (5, 4, 1))[0]
        high = 9 if operation == "mul" or rng.random() < 0.15 else 99
        left, right = rng.randint(0, high), rng.randint(0, high)
        if operation == "sub" and left < right:
            left, right = right, left
        if split_of(f"{operation}:{left}:{right}") == split:
            break
    result = {"add": left + right, "sub": left - right, "mul": left * right}[operation]
    return operation, left, right, result


def in_words(rng: random.Random, operation: str, left: int, right: int) -> str:
    """Return the exercise as a question about things that somebody has."""
    name, pronoun = rng.choice(PEOPLE)
    thing = rng.choice(THINGS)
    if operation == "mul":
        return f"{name} has {left} bags with {right} {thing} each. How many {thing} in all?"
    change = f"finds {right} more" if operation == "add" else f"gives away {right}"
    return f"{name} has {left} {thing}. {pronoun} {change}. How many {thing} now?"


def exercise(rng: random.Random, split: Split) -> tuple[str, str]:
    """Return an exercise and its answer."""
    operation, left, right, result = draw(rng, split)
    if rng.random() < 0.2:
        return in_words(rng, operation, left, right), f" {result}"
    return f"{left} {SIGNS[operation]} {right} =", f" {result}"


def document(rng: random.Random, split: Split) -> Document:
    """Return one to ten exercises with their answers, one a line."""
    count = rng.choice((1, 1, 2, 4, 10))
    return join([Document(exercise(rng, split)) for _ in range(count)], "\n")


def item(rng: random.Random) -> Item:
    """Return one held-out exercise."""
    prompt, answer = exercise(rng, "heldout")
    return Item("arithmetic", prompt, (), answer)
