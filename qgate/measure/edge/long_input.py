"""`edge.long_input` and `edge.context_limit`: is a long input read from its beginning to its end?

A few texts fill the whole context, and one pass over them answers everything. Each is made of prose
(`thresholds/prompts/prose.jsonl`) with facts planted at the beginning of each quarter. Near the end
the facts are asked again in mixed order; their numbers are what is looked at. A last piece of prose
follows, up to the last token that the context holds.

    Note: the fox has 37. ... <prose> ... Note: the owl has 52. ... Recall: the fox has 37 ...

Members of `edge.long_input`, each a ratio of perplexities paired by token:

    text at A-B tokens           the prose by its position; one document of it is one cluster
    facts about N tokens back    the numbers alone, by how far back they were planted; one fact is
                                 one cluster

The facts are recall as a likelihood, which sees damage before answers flip; how many numbers each
side would have said greedily is in the details. RULER (Hsieh et al. 2024, arXiv:2404.06654) and
needle tests count answers only. A distance over which the original recalls less than
`_LEAST_RECALLED` of the facts is left out: nothing could be lost there.

`edge.context_limit` is the ratio over the last tokens of the full contexts, pieces of
`_PIECE_TOKENS` being the clusters.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.edge.families import PerplexityFamily
from qgate.measure.work import Mark, Work
from qgate.runtimes.base import Span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qgate.measure.measurement import Estimates
    from qgate.measure.work import Outcome, Pair, Speaker

_KEYS = (
    *("fox", "bear", "wolf", "deer", "hare", "goat", "lamb", "crow", "swan", "frog"),
    *("toad", "carp", "moth", "wasp", "lynx", "seal", "duck", "hawk", "mole", "crab"),
    *("cat", "dog", "cow", "pig", "hen", "rat", "owl", "ant", "bee", "fish"),
    *("lion", "tiger", "horse", "mouse", "sheep", "snake", "whale", "eagle", "camel", "monkey"),
)
_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the context: where text is told apart by position, and how far back facts are."""
_UNITS = 4
"""Parts that the texts come in: one text of 4096 tokens each, or several shorter ones."""
_UNIT_TOKENS = 4096
_FACTS = 32
"""For each distance, in all texts together."""
_SHORTEST = 384
"""Tokens of a context that has room for facts, questions and prose."""
_LAST_SHARE = 32
"""One token in so many is behind the questions, up to the limit of the context."""
_LEAST_LAST = 32
_PIECE_TOKENS = 16
_LEAST_RECALLED = 0.5
_LIMIT = "edge.context_limit"
_LAST = "the last tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class LongInput:
    """The probe of both rows."""

    checks: ClassVar[tuple[str, ...]] = ("edge.long_input", _LIMIT)
    fillers: tuple[str, ...]
    most_tokens: int
    units: tuple[int, ...] = tuple(range(_UNITS))

    @property
    def size(self) -> int:
        """Parts that can be asked alone; each has texts of the whole context."""
        return len(self.units)

    def take(self, numbers: Sequence[int]) -> LongInput:
        """The same probe with these of its parts, in this order."""
        return dataclasses.replace(self, units=tuple(self.units[number] for number in numbers))

    def work(self, speaker: Speaker) -> Work:
        """Texts, and marks on their prose and their facts.

        Raises:
            MeasurementError: the context is too short to hold anything.
        """
        length = min(self.most_tokens, speaker.context_tokens)
        if length < _SHORTEST:
            raise MeasurementError(
                f"edge.long_input: the context is too short: got {length} tokens;"
                f" expected at least {_SHORTEST}"
            )
        each = max(1, min(_FACTS // _UNITS, _UNIT_TOKENS // length))
        writer = _Writer(speaker, self.fillers, max(1, _FACTS // (_UNITS * each)))
        spans: list[Span] = []
        marks: list[Mark] = []
        for unit in self.units:
            for number in range(unit * each, (unit + 1) * each):
                ids, own = writer.write(length, seed=number)
                marks += [_placed(mark, len(spans), number) for mark in own]
                spans.append(Span(ids=ids, first=0))
        return Work(spans=tuple(spans), marks=tuple(marks))

    def read(self, pair: Pair) -> LongAnswers:
        known = dict(_facts(pair.work.marks))
        recall = {
            name: {
                "facts": len(marks),
                "said": _count_said(pair.artifact, marks),
                "reference_said": _count_said(pair.reference, marks),
            }
            for name, marks in known.items()
        }
        left_out = {
            name: f"the original recalls {counts['reference_said']} of {counts['facts']} facts;"
            f" expected at least {_LEAST_RECALLED:.0%}"
            for name, counts in recall.items()
            if counts["reference_said"] < _LEAST_RECALLED * counts["facts"]
        }
        members = dict(PerplexityFamily.read(pair).members)
        last = {_LAST: members.pop(_LAST)}
        kept = {name: tokens for name, tokens in members.items() if name not in left_out}
        more: dict[str, Any] = {"recall": recall, **({"left_out": left_out} if left_out else {})}
        return LongAnswers(
            inside=PerplexityFamily(members=kept, more=more),
            limit=PerplexityFamily(
                members=last, more={"context_tokens": len(pair.work.spans[0].ids)}
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LongAnswers:
    """What both sides made of the same long texts."""

    inside: PerplexityFamily
    limit: PerplexityFamily

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimates:
        return self._of(check).estimate(check, level, parameters)

    def details(self, check: str) -> dict[str, Any]:
        return self._of(check).details(check)

    def _of(self, check: str) -> PerplexityFamily:
        return self.limit if check == _LIMIT else self.inside


def _placed(mark: Mark, span: int, text: int) -> Mark:
    """A mark of one text among those of all; clusters of different texts are different."""
    assert mark.cluster is not None
    return dataclasses.replace(mark, span=span, cluster=mark.cluster + text * _UNIT_TOKENS * 16)


@dataclass(slots=True, kw_only=True)
class _Draft:
    """A text as far as it is written."""

    parts: list[np.ndarray] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    size: int = 0

    def add(self, ids: np.ndarray) -> tuple[int, int]:
        """Where it begins and ends."""
        start = self.size
        self.parts.append(ids)
        self.size += len(ids)
        return start, self.size

    def mark(self, member: str, start: int, stop: int, cluster: int) -> None:
        self.marks.append(Mark(member=member, span=0, start=start, stop=stop, cluster=cluster))


class _Writer:
    """Composes texts of a given length out of facts and prose.

    Args:
        speaker: of the tokenizer.
        fillers: the prose.
        facts: planted at the beginning of each quarter of a text.
    """

    def __init__(self, speaker: Speaker, fillers: Sequence[str], facts: int) -> None:
        self._speaker = speaker
        self._fillers = speaker.follow([f"{text}\n" for text in fillers])
        self._facts = facts
        (self._start,) = speaker.begin([""])
        if not len(self._start):
            self._start = np.array([speaker.first_token], dtype=np.int32)

    def write(self, length: int, *, seed: int) -> tuple[np.ndarray, list[Mark]]:
        """As many token ids, and marks whose `span` is still to be set.

        Raises:
            MeasurementError: the facts alone take more.
        """
        rng = random.Random(seed)  # noqa: S311 - text, not secrets
        bounds = [int(length * share) for share in _SHARES]
        count = self._facts * len(bounds)
        keys = rng.sample(_KEYS[: max(20, count)], count)
        facts = [(key, f" {rng.randint(10, 99)}") for key in keys]
        notes = self._speaker.follow([f"Note: the {key} has{number}.\n" for key, number in facts])
        questions = self._questions(facts)
        last = max(_LEAST_LAST, length // _LAST_SHARE)
        end = length - last - sum(sum(map(len, question)) for question in questions)
        prose = self._prose(rng)
        draft = _Draft()
        draft.add(self._start)
        for quarter, stop in enumerate(bounds):
            for number in range(self._facts):
                draft.add(notes[quarter * self._facts + number])
            self._fill(draft, prose, min(stop, end), bounds)
        if draft.size > end:
            raise MeasurementError(
                f"edge.long_input: the facts alone are too long: got {draft.size + length - end}"
                f" tokens; expected at most {length}, the context"
            )
        for number in rng.sample(range(count), count):
            self._ask(draft, questions[number], bounds[-1 - number // self._facts], number)
        for piece in _pieces(draft, prose, length):
            draft.mark(_LAST, *piece, cluster=piece[0])
        return np.concatenate(draft.parts).astype(np.int32), draft.marks

    def _questions(
        self, facts: Sequence[tuple[str, str]]
    ) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Question, number and line end of each fact."""
        asked = self._speaker.follow([f"Recall: the {key} has" for key, _ in facts])
        told = self._speaker.follow([number for _, number in facts])
        (line_end,) = self._speaker.follow(["\n"])
        return [(ask, tell, line_end) for ask, tell in zip(asked, told, strict=True)]

    def _prose(self, rng: random.Random) -> Iterator[np.ndarray]:
        """Documents in chance order, again and again."""
        while True:
            yield from rng.sample(self._fillers, len(self._fillers))

    def _fill(
        self, draft: _Draft, prose: Iterator[np.ndarray], stop: int, bounds: Sequence[int]
    ) -> None:
        """Prose up to that place; its last document is cut."""
        while draft.size < stop:
            ids = next(prose)
            begin, end = draft.add(ids[: stop - draft.size])
            for low, high in itertools.pairwise([0, *bounds]):
                cut = max(begin, low), min(end, high)
                if cut[0] < cut[1]:
                    draft.mark(f"text at {low}-{high} tokens", *cut, cluster=begin)

    def _ask(
        self,
        draft: _Draft,
        question: tuple[np.ndarray, np.ndarray, np.ndarray],
        back: int,
        number: int,
    ) -> None:
        ask, tell, line_end = question
        draft.add(ask)
        start, stop = draft.add(tell)
        draft.mark(f"facts about {back} tokens back", start, stop, cluster=number)
        draft.add(line_end)


def _pieces(draft: _Draft, prose: Iterator[np.ndarray], length: int) -> Iterator[tuple[int, int]]:
    """Fill a draft up to the limit; where the pieces of that lie."""
    begin = draft.size
    while draft.size < length:
        draft.add(next(prose)[: length - draft.size])
    for start in range(begin, length, _PIECE_TOKENS):
        yield start, min(start + _PIECE_TOKENS, length)


def _facts(marks: Sequence[Mark]) -> Iterator[tuple[str, list[Mark]]]:
    names = dict.fromkeys(mark.member for mark in marks if mark.member.startswith("facts"))
    for name in names:
        yield name, [mark for mark in marks if mark.member == name]


def _count_said(outcome: Outcome, marks: Sequence[Mark]) -> int:
    """How many facts greedy decoding would have told."""
    return sum(
        bool(outcome.is_top[mark.span][mark.start - 1 : mark.stop - 1].all()) for mark in marks
    )
