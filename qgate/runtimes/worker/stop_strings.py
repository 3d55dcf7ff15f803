"""Answers that end before their length, at strings behind which nobody reads on.

Whoever reads an answer cuts it at its stop strings (`cut`). It is settled once nothing that it
could go on with changes what that leaves. Answers that are decoded side by side go on until all of
them are settled: a model's numbers depend on how many are decoded together, so up to there each is
bit for bit what it would have been. Kept of each is what settled it, whatever the others did.
"""

from __future__ import annotations

import dataclasses
from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from qgate.runtimes.base import Answer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from qgate.runtimes.base import Prompt

    Decode = Callable[[np.ndarray], str]

_HALF_A_CHARACTER = "\ufffd"
_LOOK_EVERY = 8
"""Tokens; to look costs the text of a whole answer."""


def cut(text: str, stops: Sequence[str]) -> str:
    """A text up to its stop strings, which are looked for one after the other, as lm-eval does."""
    for stop in stops:
        if stop:
            text = text.split(stop)[0]
    return text


def settled_at(text: str, stops: Sequence[str]) -> int | None:
    """How many characters of a text settle what `cut` leaves of it; None: not even all of them.

    Of two texts, one longer than the other, a stop string that is looked for either cuts both at
    the same place, or what they still share is shorter by less than its length. So one that is in
    both, with as much behind it as all the others can take away, makes them the same. Half a
    character at the end is not counted, nor a space at the beginning, which some readers drop.
    """
    whole = text.rstrip(_HALF_A_CHARACTER)
    read = whole.removeprefix(" ")
    looked_for = [stop for stop in stops if stop]
    room = sum(len(stop) - 1 for stop in looked_for)
    starts = [start for stop in looked_for if (start := read.find(stop)) >= 0]
    size = min(starts, default=len(read)) + room + 1
    return size + len(whole) - len(read) if size <= len(read) else None


def shortened(answer: Answer, stops: Sequence[str], decode: Decode) -> Answer:
    """An answer up to the token that settles it; one that nothing settles as it is."""

    def is_settled(size: int) -> bool:
        return settled_at(decode(answer.ids[:size]), stops) is not None

    most = len(answer.ids)
    if not any(stops) or not is_settled(most):
        return answer
    return first_of(answer, bisect_left(range(most), True, key=is_settled))


def first_of(answer: Answer, size: int) -> Answer:
    """At most so many tokens of an answer; no token ended it."""
    size = min(size, len(answer.ids))
    return dataclasses.replace(
        answer, ids=answer.ids[:size], end=None, margins_nats=answer.margins_nats[:size]
    )


class SideBySide:
    """What is said to prompts that are decoded together."""

    def __init__(self, prompts: Sequence[Prompt], decode: Decode) -> None:
        self._prompts, self._decode = prompts, decode
        self.ids: list[list[int]] = [[] for _ in prompts]
        self.margins_nats: list[list[float]] = [[] for _ in prompts]
        self.ends: list[int | None] = [None] * len(prompts)
        self._unsettled = list(range(len(prompts)))
        self._steps = 0

    def add(self, number: int, token: int, margin: float, *, is_end: bool) -> bool:
        """The next token of an answer, and its lead; whether the answer goes on."""
        self.margins_nats[number].append(margin)
        if is_end:
            self.ends[number] = token
            return False
        self.ids[number].append(token)
        return len(self.ids[number]) < self._prompts[number].max_tokens

    def are_settled(self, going: Collection[int]) -> bool:
        """Whether nobody reads what those that go on will say; those that do not never will."""
        self._steps += 1
        if self._steps % _LOOK_EVERY:
            return not going
        while self._unsettled:
            number = self._unsettled[-1]
            stops = self._prompts[number].stops
            if number in going and not (stops and self._is_settled(number, stops)):
                return False
            self._unsettled.pop()
        return True

    def _is_settled(self, number: int, stops: Sequence[str]) -> bool:
        said = self._decode(np.array(self.ids[number], dtype=np.int32))
        return settled_at(said, stops) is not None

    def answers(self) -> list[Answer]:
        """What is kept of them, in the order of the prompts."""
        return [
            shortened(
                Answer(
                    ids=np.array(ids, dtype=np.int32),
                    end=end,
                    margins_nats=np.array(margins, dtype=np.float32),
                ),
                prompt.stops,
                self._decode,
            )
            for prompt, ids, end, margins in zip(
                self._prompts, self.ids, self.ends, self.margins_nats, strict=True
            )
        ]
