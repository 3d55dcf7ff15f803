"""Composes the long texts of `edge.long_input`: prose, what comes again, facts and questions."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.runtimes.requests import ScoredRange

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.runtimes.requests import TokenizerClient

LAST = "the last tokens"
"""The member of `edge.context_limit`."""
FIRST = "passages at first"
"""What comes again, where it came before: judged in no row, the measure for what comes again."""
_KEYS = (
    *("fox", "bear", "wolf", "deer", "hare", "goat", "lamb", "crow", "swan", "frog"),
    *("toad", "carp", "moth", "wasp", "lynx", "seal", "duck", "hawk", "mole", "crab"),
)
_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the context: where text is told apart by position, and how far back facts are."""
_MOST_PASSAGES = 5
_TOKENS_A_PASSAGE = 600
"""Where texts are few, as many documents of each quarter begin again near the end as the length has
this many tokens: all of them together take a sixth of it."""
_PASSAGE_TOKENS = 24
_CUE_TOKENS = 8
"""By these it is seen that a passage comes again."""
_LAST_SHARE = 32
"""One token in so many is behind the questions, up to the limit of the context."""
_LEAST_LAST = 32
_LEAST_LAST_OF_FEW = 128
"""Where texts are few: 8 pieces of each."""
_PIECE_TOKENS = 16


def passages_a_quarter(length: int) -> int:
    """Of a text, where texts are few; of one passage alone there is no interval."""
    return max(2, min(length // _TOKENS_A_PASSAGE, _MOST_PASSAGES))


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A text as far as it is written."""

    parts: list[np.ndarray] = field(default_factory=list)
    ranges: list[ScoredRange] = field(default_factory=list)
    size: int = 0

    def add(self, ids: np.ndarray) -> tuple[int, int]:
        """Where it begins and ends."""
        start = self.size
        self.parts.append(ids)
        self.size += len(ids)
        return start, self.size

    def add_range(self, member: str, start: int, stop: int) -> None:
        """Each range is a cluster of its own."""
        self.ranges.append(
            ScoredRange(member=member, span=0, start=start, stop=stop, cluster=start)
        )


class Writer:
    """Composes texts of a given length out of facts and prose.

    Args:
        tokenizer: of the model.
        fillers: the prose.
        is_short: whether texts are short and many; each then has few facts and passages.
        is_apart: whether text and passages are told apart by quarters.
    """

    def __init__(
        self,
        tokenizer: TokenizerClient,
        fillers: Sequence[str],
        *,
        is_short: bool,
        is_apart: bool,
    ) -> None:
        self._tokenizer = tokenizer
        self._fillers = tokenizer.follow([f"{text}\n" for text in fillers])
        self._is_short = is_short
        self._is_apart = is_apart
        (self._start,) = tokenizer.begin([""])
        if not len(self._start):
            self._start = np.array([tokenizer.first_token], dtype=np.int32)

    def write(self, length: int, *, seed: int) -> tuple[np.ndarray, list[ScoredRange]]:
        """As many token ids, and ranges whose `span` is still to be set.

        Raises:
            MeasurementError: the facts alone take more.
        """
        rng = random.Random(seed)  # noqa: S311 - text, not secrets
        bounds = [int(length * share) for share in _SHARES]
        facts = len(bounds) if self._is_short else 0
        planted = [(key, f" {rng.randint(10, 99)}") for key in rng.sample(_KEYS, facts)]
        told = [f"Note: the {key} has{number}.\n" for key, number in planted]
        notes = self._tokenizer.follow(told) if told else ()
        (line_end,) = self._tokenizer.follow(["\n"])
        questions = self._questions(planted, line_end)
        tail = sum(sum(map(len, question)) for question in questions)
        again = self._passages(seed, length, len(bounds))
        tail += sum(again) * (_PASSAGE_TOKENS + len(line_end))
        least = _LEAST_LAST if self._is_short else _LEAST_LAST_OF_FEW
        end = length - tail - max(least, length // _LAST_SHARE)
        prose = self._prose(rng)
        draft = _Draft()
        draft.add(self._start)
        passages: list[tuple[int, np.ndarray]] = []
        for quarter, stop in enumerate(bounds):
            if self._is_short:
                draft.add(notes[quarter])
            # in a short text the questions take some of the last quarter
            ahead = sum(map(len, notes[quarter + 1 :]))
            begun = self._fill(draft, prose, min(stop, end - ahead), bounds)
            for begin, ids in begun[: again[quarter]]:
                draft.add_range(FIRST, begin + _CUE_TOKENS, begin + _PASSAGE_TOKENS)
                passages.append((bounds[-1 - quarter], ids))
        if draft.size > end:
            raise MeasurementError(
                f"edge.long_input: the facts alone are too long: got {draft.size + length - end}"
                f" tokens; expected at most {length}, the context"
            )
        for back, ids in rng.sample(passages, len(passages)):
            self._repeat(draft, ids, back, line_end)
        for number in rng.sample(range(facts), facts):
            self._ask(draft, questions[number], bounds[-1 - number])
        for piece in _pieces(draft, prose, length):
            draft.add_range(LAST, *piece)
        return np.concatenate(draft.parts).astype(np.int32), draft.ranges

    def _passages(self, seed: int, length: int, quarters: int) -> list[int]:
        """How many documents of each quarter begin again."""
        if self._is_short:
            return [(quarter + seed) % 2 for quarter in range(quarters)]
        return [passages_a_quarter(length)] * quarters

    def _questions(
        self, facts: Sequence[tuple[str, str]], line_end: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Question, number and line end of each fact."""
        if not facts:
            return []
        asked = self._tokenizer.follow([f"Recall: the {key} has" for key, _ in facts])
        told = self._tokenizer.follow([number for _, number in facts])
        return [(ask, tell, line_end) for ask, tell in zip(asked, told, strict=True)]

    def _prose(self, rng: random.Random) -> Iterator[np.ndarray]:
        """Documents in chance order, again and again."""
        while True:
            yield from rng.sample(self._fillers, len(self._fillers))

    def _fill(
        self, draft: _Draft, prose: Iterator[np.ndarray], stop: int, bounds: Sequence[int]
    ) -> list[tuple[int, np.ndarray]]:
        """Prose up to that place, its last document cut; where and how long documents begin."""
        begun: list[tuple[int, np.ndarray]] = []
        while draft.size < stop:
            ids = next(prose)[: stop - draft.size]
            begin, end = draft.add(ids)
            if len(ids) >= _PASSAGE_TOKENS:
                begun.append((begin, ids[:_PASSAGE_TOKENS]))
            for low, high in itertools.pairwise([0, *bounds]):
                cut = max(begin, low), min(end, high)
                if cut[0] < cut[1]:
                    quarter = f"text at {low}-{high} tokens"
                    draft.add_range(quarter if self._is_apart else "text", *cut)
        return begun

    def _repeat(self, draft: _Draft, ids: np.ndarray, back: int, line_end: np.ndarray) -> None:
        begin, end = draft.add(ids)
        distance = f"passages about {back} tokens back"
        draft.add_range(distance if self._is_apart else "passages", begin + _CUE_TOKENS, end)
        draft.add(line_end)

    def _ask(
        self, draft: _Draft, question: tuple[np.ndarray, np.ndarray, np.ndarray], back: int
    ) -> None:
        ask, tell, line_end = question
        draft.add(ask)
        draft.add_range(f"facts about {back} tokens back", *draft.add(tell))
        draft.add(line_end)


def _pieces(draft: _Draft, prose: Iterator[np.ndarray], length: int) -> Iterator[tuple[int, int]]:
    """Fill a draft up to the limit; where the pieces of that lie."""
    begin = draft.size
    while draft.size < length:
        draft.add(next(prose)[: length - draft.size])
    for start in range(begin, length, _PIECE_TOKENS):
        yield start, min(start + _PIECE_TOKENS, length)
