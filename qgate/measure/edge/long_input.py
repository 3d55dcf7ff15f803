"""`edge.long_input` and `edge.context_limit`: is a long input read from its beginning to its end?

A few texts fill the whole context, and one pass over them answers everything. Each is made of prose
(`thresholds/prompts/prose.jsonl`). Near the end the first words of some documents come again, in
mixed order. Where the context is short and texts are many, there is also a fact at the beginning of
each quarter, and the facts are asked near the end; few texts would have too few of them. A last
piece of prose follows, up to the last token that the context holds.

    Note: the fox has 37. The old bridge ... Note: the owl has 52. ... The old bridge ...
    Recall: the fox has 37 ...

Members of `edge.long_input`, each a ratio of perplexities paired by token:

    text at A-B tokens             the prose by its position; a document of it is a cluster
    passages about N tokens back   what came again, after its first 8 tokens, by how far back
                                   it was; a passage is a cluster
    text, passages                 those of all quarters, where the texts are so short or so few
                                   that a quarter would have fewer than `_FEWEST_PASSAGES`: an
                                   interval over two or three clusters shows no damage at all
    facts about N tokens back      the numbers alone, by how far back they were planted; a fact is a
                                   cluster

Passages and facts are recall as a likelihood, which sees damage before answers flip; how many
numbers each side would have said greedily is in the details. RULER (Hsieh et al. 2024,
arXiv:2404.06654) and needle tests count answers only.

Of both a quarter of the logarithm counts: what is recalled costs little, and a file that is
sound multiplies that. SmolLM2's sound Q4_K_M (contexts of 1536, 4 texts): text 1.045 to 1.061,
passages 1.44 [1.24, 1.69] and 1.56 [1.24, 2.12], which count as 1.09 and 1.12. A distance that is
lost costs some nats a token, and 2 of them still count as 1.65.

What the reference cannot do is left out, for nothing could be lost there: facts over a distance of
which it says less than `_LEAST_RECALLED`; passages that cost it more than `_MOST_OF_FIRST` of what
they cost at first; text that costs more than a guess at random among all tokens would.

`edge.context_limit` is the ratio over the last tokens of the full contexts, pieces of
16 tokens being the clusters. In long contexts they are prose that came before: recall, of
which a quarter of the logarithm counts (SmolLM2 at 4096 tokens, 512 of them: perplexity 3.45, of
its sound Q4_K_M 4.77, which counts as 1.084; its Q2_K, 8.07, as 1.24).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.families import PerplexityFamily, Tokens
from qgate.measure.edge.long_texts import FIRST, LAST, Writer, passages_a_quarter
from qgate.runtimes.base import Span
from qgate.runtimes.requests import Pair, ScoredRange, Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.measure.measurement import Estimates
    from qgate.runtimes.requests import Outcome, TokenizerClient

_UNITS = 4
"""Parts that the texts come in."""
_UNIT_TOKENS = 4096
"""Of a text, whose time several of a shorter context may take."""
_MOST_TEXTS = 16
"""In a part."""
_MANY_TEXTS = 4
"""With so many or more texts a part, each has one fact a quarter and a passage every second one."""
_FEWEST_PASSAGES = 4
"""Of a quarter, over all texts. SmolLM2's Q2_K over 1024 tokens, 2 passages a quarter:
the worst is 1.36 with an interval up to ten million; text as a whole 1.299 [1.183, 1.418]."""
_SHORTEST = 384
"""Tokens of a context that has room for facts, questions and prose."""
_SHARE_OF_LOG = 0.25
"""Of recall."""
_LEAST_RECALLED = 0.75
_MOST_OF_FIRST = 0.5
_LIMIT = "edge.context_limit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Which members are judged, and how."""

    left_out: Mapping[str, str]
    """Those in which the reference has nothing to lose, and why."""
    too_short: frozenset[str]
    """Those of them that longer texts would have."""
    recalled: frozenset[str]
    """Those that are recall, of which a share of the logarithm counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongInput:
    """The probe of both rows."""

    checks: ClassVar[tuple[str, ...]] = ("edge.long_input", _LIMIT)
    fewest_a_look: ClassVar[int] = 1
    fillers: tuple[str, ...]
    most_tokens: int
    most_parts: int = _UNITS
    """How many parts are asked in all, whatever a look takes of them."""
    units: tuple[int, ...] = tuple(range(_UNITS))
    seed: int = 0
    """Chooses prose, facts and their order."""
    members: Members | None = None
    """What the reference can do, by all of its answers; None: by those that are read."""

    @property
    def size(self) -> int:
        """Parts that can be asked alone; each has texts of the whole context."""
        return len(self.units)

    def take(self, numbers: Sequence[int]) -> LongInput:
        """The same probe with these of its parts, in this order."""
        return dataclasses.replace(self, units=tuple(self.units[number] for number in numbers))

    def work(self, tokenizer: TokenizerClient) -> Work:
        """Texts, and ranges of their prose and their facts.

        Raises:
            MeasurementError: the context is too short to hold anything.
        """
        length = min(self.most_tokens, tokenizer.context_tokens)
        if length < _SHORTEST:
            raise MeasurementError(
                f"edge.long_input: the context is too short: got {length} tokens;"
                f" expected at least {_SHORTEST}"
            )
        each = self._texts_a_part(length)
        is_short = each >= _MANY_TEXTS
        passages = each // 2 if is_short else each * passages_a_quarter(length)
        is_apart = passages * min(self.most_parts, _UNITS) >= _FEWEST_PASSAGES
        writer = Writer(tokenizer, self.fillers, is_short=is_short, is_apart=is_apart)
        spans: list[Span] = []
        ranges: list[ScoredRange] = []
        for unit in self.units:
            for number in range(unit * each, (unit + 1) * each):
                ids, own = writer.write(length, seed=number + self.seed * _UNITS * _MOST_TEXTS)
                ranges += [_placed(scored, len(spans), number) for scored in own]
                spans.append(Span(ids=ids, first=0))
        return Work(spans=tuple(spans), ranges=tuple(ranges))

    def _texts_a_part(self, length: int) -> int:
        """One; of a model that knows no longer ones: as many as take the time of one of these.

        Attention takes half of the time of `_UNIT_TOKENS` on a CPU.
        """
        if length == self.most_tokens:
            return 1
        asked = min(_UNIT_TOKENS, self.most_tokens)
        whole, each = (tokens + tokens * tokens // _UNIT_TOKENS for tokens in (asked, length))
        return max(1, min(_MOST_TEXTS, whole // each))

    def read(self, pair: Pair) -> LongAnswers:
        """Both rows' members, those that the reference has mastered.

        Raises:
            NotApplicable: there are none, in either row.
        """
        answers = self._mastered(pair)
        if not answers.inside.members and not answers.limit.members:
            answers.refuse(", ".join(self.checks), self.checks[0])
        return answers

    def _mastered(self, pair: Pair) -> LongAnswers:
        found = self.members or _members(pair)
        left_out = found.left_out
        kept = {
            name: dataclasses.replace(tokens, share_of_log=_SHARE_OF_LOG)
            if name in found.recalled
            else tokens
            for name, tokens in PerplexityFamily.read(pair).members.items()
            if name not in left_out and name != FIRST
        }
        last = {name: kept.pop(name) for name in (LAST,) if name in kept}
        more = {
            "recall": _recall(pair),
            "share_of_log_of_recall": _SHARE_OF_LOG,
            "left_out": {name: why for name, why in left_out.items() if name != LAST},
        }
        return LongAnswers(
            too_short=found.too_short,
            inside=PerplexityFamily(members=kept, more=more),
            limit=PerplexityFamily(
                members=last,
                more={
                    "context_tokens": len(pair.work.spans[0].ids),
                    "left_out": {name: why for name, why in left_out.items() if name == LAST},
                },
            ),
        )

    def settled(self, work: Work, outcome: Outcome) -> LongInput:
        """The same probe, its members chosen once for all looks by all of the reference's answers.

        Raises:
            NotApplicable: there are none, in either row.
        """
        whole = Pair(work=work, reference=outcome, artifact=outcome)
        self.read(whole)
        return dataclasses.replace(self, members=_members(whole))

    def require_reference(self, check: str, work: Work, outcome: Outcome) -> None:
        """Refuse a row of which the reference has mastered nothing.

        Raises:
            NotApplicable: it is such a row.
        """
        self._mastered(Pair(work=work, reference=outcome, artifact=outcome)).require(check)


def _members(pair: Pair) -> Members:
    """What the reference has mastered."""
    members, recall = dict(PerplexityFamily.read(pair).members), _recall(pair)
    first = float(members.pop(FIRST).reference_nll.mean())  # nats a token
    guess = math.log(1 + max(int(span.ids.max()) for span in pair.work.spans))
    nats = {name: float(tokens.reference_nll.mean()) for name, tokens in members.items()}
    short = {name: reason for name, tokens in members.items() if (reason := _alone(tokens))}
    reasons = {
        name: short.get(name)
        or _unmastered(name, cost, recall.get(name), at_first=first, guess=guess)
        for name, cost in nats.items()
    }
    # the last tokens may have come before
    recalled = {
        name
        for name, cost in nats.items()
        if name.startswith(("passages", "facts"))
        or (name == LAST and cost <= _MOST_OF_FIRST * first)
    }
    return Members(
        left_out={name: reason for name, reason in reasons.items() if reason},
        too_short=frozenset(short),
        recalled=frozenset(recalled),
    )


def _alone(tokens: Tokens) -> str:
    """Why a member has no interval, as one of a short text may have none; empty where it has."""
    n = len(np.unique(tokens.documents))
    return "" if n > 1 else f"the text is too short for it: got {n} document; expected at least 2"


def _unmastered(
    name: str, nats: float, recalled: Mapping[str, int] | None, *, at_first: float, guess: float
) -> str:
    """Why the reference has nothing to lose in a member; empty where it has."""
    if recalled is not None:
        said, facts = recalled["reference_said"], recalled["facts"]
        if said < _LEAST_RECALLED * facts:
            return f"the reference recalls {said} of {facts} facts; expected {_LEAST_RECALLED:.0%}"
    elif name.startswith("passages"):
        if nats > _MOST_OF_FIRST * at_first:
            return (
                f"the reference needs {nats:.2f} nats a token when it reads a passage again,"
                f" {at_first:.2f} at first; expected at most {_MOST_OF_FIRST:.0%} of that"
            )
    elif nats > guess:
        return f"got {nats:.2f} nats a token; expected at most {guess:.2f}, a guess at random"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LongAnswers:
    """What both sides made of the same long texts."""

    inside: PerplexityFamily
    limit: PerplexityFamily
    too_short: frozenset[str]
    """Members that longer texts would have."""

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimates:
        self.require(check)
        return self._of(check).estimate(check, level, parameters)

    def require(self, check: str) -> None:
        """Refuse a row without members.

        Raises:
            NotApplicable: the reference has mastered nothing of it.
        """
        if not self._of(check).members:
            self.refuse(check, check)

    def refuse(self, rows: str, check: str) -> NoReturn:
        """Say of these rows why the first member of one of them is left out."""
        name, why = next(iter(self._of(check).more["left_out"].items()))
        if name in self.too_short:
            raise NotApplicable(
                f"{rows}: {name}: {why}. Ask for longer texts or more of them: edge:"
                " {context_tokens: N, long_texts: N}"
            )
        raise NotApplicable(f"{rows}: the reference itself cannot do it: {name}: {why}")

    def details(self, check: str) -> dict[str, Any]:
        return self._of(check).details(check)

    def _of(self, check: str) -> PerplexityFamily:
        return self.limit if check == _LIMIT else self.inside


def _placed(scored: ScoredRange, span: int, text: int) -> ScoredRange:
    """A range of one text among those of all; clusters of different texts are different."""
    assert scored.cluster is not None
    return dataclasses.replace(scored, span=span, cluster=scored.cluster + text * _UNIT_TOKENS * 16)


def _recall(pair: Pair) -> dict[str, dict[str, int]]:
    """By member, how many facts there are, and how many greedy decoding would have told."""
    facts: dict[str, list[ScoredRange]] = {}
    for scored in pair.work.ranges:
        if scored.member.startswith("facts"):
            facts.setdefault(scored.member, []).append(scored)
    return {
        name: {
            "facts": len(ranges),
            "said": _count_said(pair.artifact, ranges),
            "reference_said": _count_said(pair.reference, ranges),
        }
        for name, ranges in facts.items()
    }


def _count_said(outcome: Outcome, ranges: Sequence[ScoredRange]) -> int:
    return sum(
        bool(outcome.is_top[scored.span][scored.start - 1 : scored.stop - 1].all())
        for scored in ranges
    )
