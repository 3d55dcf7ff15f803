"""Small Python expressions as a console shows them, with their values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.demo.corpus.document import Document, Item, Split, join, split_of

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

LETTERS = "ABCDEFGHKLMNPRST"


def _word(rng: random.Random, low: int, high: int) -> str:
    return "".join(rng.choice(LETTERS) for _ in range(rng.randint(low, high)))


def _digits(rng: random.Random, low: int, high: int) -> list[int]:
    return [rng.randint(0, 9) for _ in range(rng.randint(low, high))]


def extreme(rng: random.Random) -> tuple[str, object]:
    name, function = rng.choice((("max", max), ("min", min)))
    numbers = [rng.randint(0, 99) for _ in range(2)] if rng.random() < 0.5 else _digits(rng, 3, 3)
    return f"{name}({', '.join(map(str, numbers))})", function(numbers)


def length(rng: random.Random) -> tuple[str, object]:
    value = _word(rng, 1, 6) if rng.random() < 0.5 else _digits(rng, 1, 6)
    return f"len({value!r})", len(value)


def index(rng: random.Random) -> tuple[str, object]:
    value = _word(rng, 3, 5) if rng.random() < 0.5 else _digits(rng, 3, 5)
    at = rng.randint(-1, 2)
    return f"{value!r}[{at}]", value[at]


def part(rng: random.Random) -> tuple[str, object]:
    value = _word(rng, 4, 5) if rng.random() < 0.5 else _digits(rng, 4, 5)
    low = rng.randint(0, 1)
    high = low + rng.randint(1, 2)
    return f"{value!r}[{low}:{high}]", value[low:high]


def concatenation(rng: random.Random) -> tuple[str, object]:
    if rng.random() < 0.5:
        left, right = _word(rng, 1, 3), _word(rng, 1, 3)
        return f"{left!r} + {right!r}", left + right
    one, two = _digits(rng, 1, 3), _digits(rng, 1, 3)
    return f"{one!r} + {two!r}", one + two


def comparison(rng: random.Random) -> tuple[str, object]:
    left, right = rng.randint(0, 99), rng.randint(0, 99)
    if rng.random() < 0.5:
        return f"{left} < {right}", left < right
    return f"{left} > {right}", left > right


def order(rng: random.Random) -> tuple[str, object]:
    numbers = _digits(rng, 3, 3)
    return f"sorted({numbers!r})", sorted(numbers)


FORMS: tuple[Callable[[random.Random], tuple[str, object]], ...] = (
    extreme,
    length,
    index,
    part,
    concatenation,
    comparison,
    order,
)


def expression(rng: random.Random, split: Split) -> tuple[str, str]:
    """Return an expression at the prompt and the line with its value, from the wanted side."""
    while True:
        source, value = rng.choice(FORMS)(rng)
        if split_of(f"code:{source}") == split:
            return f">>> {source}", f"\n{value!r}"


def document(rng: random.Random, split: Split) -> Document:
    """Return one to six expressions with their values."""
    count = rng.choice((1, 1, 2, 4, 6))
    return join([Document(expression(rng, split)) for _ in range(count)], "\n")


def item(rng: random.Random) -> Item:
    prompt, answer = expression(rng, "heldout")
    return Item("code", prompt, (), answer)
