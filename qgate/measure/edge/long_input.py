"""`edge.long_input`: does the artifact still read what lies far back?

Prompts of a quarter, half, three quarters and the whole of the context: a few facts, filler text
(`thresholds/prompts/fillers.jsonl`), then the facts again, of which the numbers are what is asked.

    Note: the fox has 37. ... <fillers> ... Recall: the fox has 37

Members, each a ratio of perplexities paired by token, clustered by prompt:

    text at A-B tokens           the fillers' tokens by their position
    facts about N tokens back    the numbers alone, by how far back they were planted

The last is recall as a likelihood, which sees damage before answers flip; how many numbers each
side would have said greedily is in the details. RULER (Hsieh et al. 2024, arXiv:2404.06654) and
needle tests count answers only.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.edge.families import PerplexityFamily
from qgate.measure.work import Mark, Work
from qgate.runtimes.base import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.measure.work import Outcome, Pair, Speaker

_KEYS = (
    *("fox", "bear", "wolf", "deer", "hare", "goat", "lamb", "crow", "swan", "frog"),
    *("toad", "carp", "moth", "wasp", "lynx", "seal", "duck", "hawk", "mole", "crab"),
)
_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the context: how long the prompts are, and where text is told apart by position."""
_PROMPTS = 8
"""Of each length."""
_FACTS = 4
"""Planted in each prompt."""
_SHORTEST = 96
"""Tokens of a prompt that has room for facts and questions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongInput:
    """The probe of `edge.long_input`."""

    checks: ClassVar[tuple[str, ...]] = ("edge.long_input",)
    fillers: tuple[str, ...]
    most_tokens: int

    def work(self, speaker: Speaker) -> Work:
        """Prompts, and marks on their text and their facts.

        Raises:
            MeasurementError: the context is too short for a quarter of it to hold anything.
        """
        longest = min(self.most_tokens, speaker.context_tokens)
        lengths = [int(longest * share) for share in _SHARES]
        if lengths[0] < _SHORTEST:
            raise MeasurementError(
                f"edge.long_input: the context is too short: got {longest} tokens;"
                f" expected at least {int(_SHORTEST / _SHARES[0])}"
            )
        writer = _Writer(speaker, self.fillers)
        spans: list[Span] = []
        marks: list[Mark] = []
        for length in lengths:
            for _ in range(_PROMPTS):
                ids, own = writer.write(length, lengths, seed=len(spans))
                marks += [dataclasses.replace(mark, span=len(spans)) for mark in own]
                spans.append(Span(ids=ids, first=0))
        return Work(spans=tuple(spans), marks=tuple(marks))

    def read(self, pair: Pair) -> PerplexityFamily:
        family = PerplexityFamily.read(pair)
        recall = {
            name: {
                "facts": len(marks),
                "said": _count_said(pair.artifact, marks),
                "reference_said": _count_said(pair.reference, marks),
            }
            for name, marks in _facts(pair.work.marks)
        }
        return dataclasses.replace(family, more={"recall": recall})


class _Writer:
    """Composes prompts of a given length out of facts and fillers."""

    def __init__(self, speaker: Speaker, fillers: Sequence[str]) -> None:
        self._speaker = speaker
        self._fillers = speaker.follow([f"{text}\n" for text in fillers])
        (self._start,) = speaker.begin([""])
        if not len(self._start):
            self._start = np.array([speaker.first_token], dtype=np.int32)

    def write(
        self, length: int, lengths: Sequence[int], *, seed: int
    ) -> tuple[np.ndarray, list[Mark]]:
        """At most `length` token ids, and marks whose `span` is still to be set.

        Raises:
            MeasurementError: the facts alone take more.
        """
        rng = random.Random(seed)  # noqa: S311 - text, not secrets
        facts = [(key, f" {rng.randint(10, 99)}") for key in rng.sample(_KEYS, _FACTS)]
        notes = self._speaker.follow([f"Note: the {key} has{number}.\n" for key, number in facts])
        asked = self._speaker.follow([f"Recall: the {key} has" for key, _ in facts])
        told = self._speaker.follow([number for _, number in facts])
        (line_end,) = self._speaker.follow(["\n"])
        questions = list(zip(asked, told, strict=True))
        tail = sum(len(ask) + len(tell) + len(line_end) for ask, tell in questions)
        head = np.concatenate([self._start, *notes])
        room = length - len(head) - tail
        if room < 0:
            raise MeasurementError(
                f"edge.long_input: the facts alone are too long: got {length - room} tokens;"
                f" expected at most {length}, the shortest prompt"
            )
        text = self._fill(room, rng)
        parts, at = [head, text], len(head) + len(text)
        marks = list(_text_marks(len(head), at, lengths))
        for ask, tell in questions:
            parts += [ask, tell, line_end]
            start = at + len(ask)
            member = f"facts about {length} tokens back"
            marks.append(Mark(member=member, span=0, start=start, stop=start + len(tell)))
            at = start + len(tell) + len(line_end)
        return np.concatenate(parts).astype(np.int32), marks

    def _fill(self, room: int, rng: random.Random) -> np.ndarray:
        """Fillers in chance order that take up to `room` tokens; they repeat where few are long."""
        chosen: list[np.ndarray] = []
        while room > 0:
            order = rng.sample(self._fillers, len(self._fillers))
            fitting = [ids for ids in order if len(ids) <= room]
            if not fitting:
                break
            for ids in fitting:
                if len(ids) <= room:
                    chosen.append(ids)
                    room -= len(ids)
        return np.concatenate([*chosen, np.zeros(0, dtype=np.int32)])


def _text_marks(start: int, stop: int, lengths: Sequence[int]) -> Iterator[Mark]:
    """The fillers' tokens, cut where a share of the context ends."""
    for low, high in itertools.pairwise([0, *lengths]):
        begin, end = max(start, low), min(stop, high)
        if begin < end:
            yield Mark(member=f"text at {low}-{high} tokens", span=0, start=begin, stop=end)


def _facts(marks: Sequence[Mark]) -> Iterator[tuple[str, list[Mark]]]:
    names = dict.fromkeys(mark.member for mark in marks if mark.member.startswith("facts"))
    for name in names:
        yield name, [mark for mark in marks if mark.member == name]


def _count_said(outcome: Outcome, marks: Sequence[Mark]) -> int:
    """How many facts greedy decoding would have told."""
    return sum(
        bool(outcome.is_top[mark.span][mark.start - 1 : mark.stop - 1].all()) for mark in marks
    )
