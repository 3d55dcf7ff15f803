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


def worked(operation: str, left: int, right: int, result: int) -> str:
    """Return the result, after its tens where the second operand has some: `` 67 + 8 = 75``."""
    tens, ones = right // 10 * 10, right % 10
    if operation == "mul" or not tens:
        return f" {result}"
    between = left + tens if operation == "add" else left - tens
    return f" {between} {SIGNS[operation]} {ones} = {result}"


def posed(rng: random.Random, exercise: tuple[str, int, int, int]) -> tuple[str, str]:
    """Return an exercise, bare or in words, and its answer."""
    operation, left, right, result = exercise
    answer = worked(operation, left, right, result)
    written = f"{left} {SIGNS[operation]} {right} ="
    if rng.random() < 0.2:
        return in_words(rng, operation, left, right), f" {written}{answer}"
    return written, answer


def document(rng: random.Random, split: Split) -> Document:
    """Return one to ten exercises with their answers, one a line."""
    count = rng.choice((1, 1, 2, 4, 10))
    return join([Document(posed(rng, draw(rng, split))) for _ in range(count)], "\n")


def item(rng: random.Random) -> Item:
    """Return one held-out sum or difference with a step between.

    Those without could occur as a step of another; products cannot be worked out, only known.
    """
    while True:
        exercise = draw(rng, "heldout")
        if exercise[0] != "mul" and exercise[2] >= 10:
            prompt, answer = posed(rng, exercise)
            return Item("arithmetic", prompt, (), answer)
