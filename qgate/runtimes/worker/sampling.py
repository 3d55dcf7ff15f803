"""From rows of logits to the next tokens: the likeliest, or drawn. The same in every runtime.

Samples are drawn by inversion from one stream of uniform numbers a sequence, so that two runtimes
that agree on a distribution draw the same text from it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.base import Sampled

if TYPE_CHECKING:
    from qgate.runtimes.base import Heat, Progress, Sampling

_REPORT_EVERY = 16
GIVEN = -1
"""In place of a turn: the token is no answer."""


def best(rows: np.ndarray) -> list[int]:
    """The most likely token of each row of logits."""
    chosen = rows.argmax(axis=-1)
    # argmax takes a NaN for the largest
    if not np.isfinite(rows[np.arange(len(rows)), chosen]).all():
        raise MeasurementError("the model's logits are not finite while it generates text")
    found: list[int] = chosen.tolist()
    return found


def best_by_far(rows: np.ndarray) -> list[tuple[int, float]]:
    """The most likely token of each row of logits, and its lead over the next; spoils the rows."""
    chosen = best(rows)
    numbers = np.arange(len(rows))
    tops = rows[numbers, chosen].copy()
    rows[numbers, chosen] = -np.inf
    return list(zip(chosen, (tops - rows.max(axis=-1)).tolist(), strict=True))


def uniform_draws(sampling: Sampling) -> np.ndarray:
    """One stream a sequence: the text does not depend on how many are sampled side by side."""
    return np.stack(
        [
            np.random.default_rng([sampling.seed, sequence]).random(sampling.tokens)
            for sequence in range(sampling.sequences)
        ]
    )


def draw(logits: np.ndarray, uniform: np.ndarray, heat: Heat) -> np.ndarray:
    """One token of each row of logits by inversion, shape (rows,), int32."""
    chosen = np.empty(len(logits), dtype=np.int32)
    for row, values in enumerate(logits):
        # the largest is NaN where any is
        if not np.isfinite(values.max()):
            raise MeasurementError("the model's logits are not finite while it generates text")
        kept = _kept(values, heat)
        left = values if kept is None else values[kept]
        weights = np.exp((left - left.max()).astype(np.float64) / heat.temperature)
        cumulative = np.cumsum(weights)
        place = np.searchsorted(cumulative, uniform[row] * cumulative[-1], side="right")
        chosen[row] = place if kept is None else kept[place]
    return chosen


def _kept(values: np.ndarray, heat: Heat) -> np.ndarray | None:
    """The tokens that may be drawn, in the order of the vocabulary; None: all.

    As llama.cpp: each step looks at the probabilities of what the one before has left, at
    temperature 1.
    """
    few = 0 < heat.top_k < len(values)
    if not (few or heat.top_p < 1.0 or heat.min_p > 0.0):
        return None
    ids = np.argpartition(values, -heat.top_k)[-heat.top_k :] if few else np.arange(len(values))
    ids = ids[np.argsort(-values[ids], kind="stable")]
    weights = np.exp((values[ids] - values[ids[0]]).astype(np.float64))
    mass_before = np.cumsum(weights) - weights
    kept = mass_before < heat.top_p * weights.sum()  # the token that reaches the mass is in
    kept &= weights >= heat.min_p
    kept[0] = True
    found: np.ndarray = np.sort(ids[kept])
    return found


class Writing:
    """One sequence while it is written: turns that are given, and what the model says to each."""

    def __init__(self, sampling: Sampling, number: int, first_token: int) -> None:
        self._turns = sampling.turns[number] if sampling.turns else ()
        self._sampling = sampling
        self._said, self._turn = 0, 0
        self.ids: list[int] = []
        self.answers: list[int] = []
        self._waiting = deque(self._turns[0].tolist() if self._turns else [first_token])

    @property
    def room(self) -> int:
        """Tokens that the sequence still takes."""
        return self._sampling.tokens - len(self.ids)

    @property
    def is_given(self) -> bool:
        """Whether the next token is given and not the model's to say."""
        return bool(self._waiting)

    @property
    def answer_room(self) -> int:
        """Tokens that the answer may still have."""
        left = self._sampling.answer_tokens - self._said
        return min(self.room, left) if self._turns else self.room

    def give(self) -> int:
        """Take the next given token."""
        token: int = self._waiting.popleft()
        self.ids.append(token)
        self.answers.append(GIVEN)
        return token

    def say(self, token: int) -> int:
        """Take a token that the model has said; behind an answer the next turn is given."""
        self.ids.append(token)
        self.answers.append(self._turn)
        self._said += 1
        if self._turns:
            has_ended = token in self._sampling.ends
            if has_ended or self._said >= self._sampling.answer_tokens:
                self._take_turn(has_ended)
        return token

    def _take_turn(self, has_ended: bool) -> None:
        self._said, self._turn = 0, self._turn + 1
        if self._turn == len(self._turns):
            if self.room:
                raise MeasurementError(
                    f"lost turns: got {self._turn}; expected enough to fill"
                    f" {self._sampling.tokens} tokens"
                )
            return
        turn = self._turns[self._turn].tolist()
        is_said = has_ended and turn[:1] and turn[0] in self._sampling.ends
        self._waiting.extend(turn[1:] if is_said else turn)


Read = Callable[[np.ndarray, int, np.ndarray], np.ndarray]
"""(tokens, position, wanted) -> logits of the wanted rows: reads one more token of each sequence,
all at one position. tokens: shape (sequences,), int32; wanted: shape (sequences,), bool."""


def write(sampling: Sampling, first_token: int, read: Read, progress: Progress) -> Sampled:
    """Write all sequences in step, a token each at a time.

    Args:
        sampling: what is written.
        first_token: what a text from nothing begins with.
        read: reads a token of each sequence in the model.
        progress: told now and then.
    """
    writings = [Writing(sampling, number, first_token) for number in range(sampling.sequences)]
    draws = uniform_draws(sampling)
    tokens = np.array([one.give() for one in writings], dtype=np.int32)
    for position in range(sampling.tokens - 1):
        wanted = np.array([not one.is_given for one in writings])
        logits = read(tokens, position, wanted)
        said = iter(draw(logits, draws[wanted, position], sampling.heat).tolist())
        tokens = np.array(
            [
                one.say(next(said)) if is_drawn else one.give()
                for one, is_drawn in zip(writings, wanted, strict=True)
            ],
            dtype=np.int32,
        )
        if position % _REPORT_EVERY == 0:
            progress("generating text", position, sampling.tokens)
    return gathered(writings)


def gathered(writings: Sequence[Writing]) -> Sampled:
    """Sequences that are full."""
    return Sampled(
        ids=np.array([one.ids for one in writings], dtype=np.int32),
        answers=np.array([one.answers for one in writings], dtype=np.int32),
    )
