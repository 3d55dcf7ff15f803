"""`edge.multilingual`: is any one language damaged, though English is sound?

Short documents in several languages and scripts, each scored from its beginning; one member a
language. Quantization hurts scripts of many bytes a word and languages of little training text
first (Marchisio et al. 2024, arXiv:2407.03211). There are two kinds:

    documents   (`thresholds/prompts/documents.jsonl`) plain prose, the same texts in each language
    exercises   (`thresholds/prompts/languages.jsonl`) one small world, told and asked about again
                and again: what models of a few million parameters are trained on, the demo's too

What the reference does not speak cannot be damaged. So it reads `_SCOUTS` documents of each member
first, and its bits say how the member is judged. Bits are divided by the bytes of the same text in
English: a byte is a letter there, but a third of one in Hindi. Measured with all documents:

    bits per byte of English  en    fr    es    de    pt    it    ru    ar    hi    zh    ja
    SmolLM2-135M-Instruct F16 1.01  2.24  2.20  2.49  2.60  2.66  2.68  2.82  3.51  2.13  2.45
    its sound Q4_K_M, ratio   1.008 1.073 1.148 1.154 1.103 1.172 1.097 1.063 1.129 1.108 1.126
    stories260K               2.09  and more than 7 in any other language
    the demo model            more than 6 in every language

    spoken     up to `_SPOKEN_BITS`: every document is asked, the ratio is judged
    half known up to `_HALF_KNOWN_BITS`: a file that is sound loses 10 times the logarithm there
               that it loses in English. A quarter of the logarithm counts, and few documents are
               asked: a script that is lost shows all the same (ratios of 3 and more).
    else       left out

Exercises repeat themselves, so that whoever copies is good at them: SmolLM2 has 0.8 (en) to 1.4
(de) bits a byte there and 0.96 in Hindi, which it does not speak; stories260K 2.0; the demo, which
has learned them, 0.05 to 0.18. `_LEARNED_BITS` lies between.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.families import PerplexityFamily
from qgate.runtimes.base import Span
from qgate.runtimes.requests import ScoredRange, Work

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.runtimes.requests import Outcome, Pair, TokenizerClient

_ROW = "edge.multilingual"
_YARDSTICK = "en"
_SCOUTS = 1
"""Documents of each member that the reference is asked first: of SmolLM2, one tells the bits of two
within 0.15."""
_SPOKEN_BITS = 1.5
_HALF_KNOWN_BITS = 3.0
_LEARNED_BITS = 0.5
_HALF_KNOWN_DOCUMENTS = 5
_SHARE_OF_LOG = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A text of one member."""

    member: str
    text: str
    letters: int
    """Bytes of the same text in English, or of itself where there is none."""
    is_exercise: bool = False


def documents_of(
    documents: Mapping[str, Sequence[str]], exercises: Mapping[str, Sequence[str]]
) -> tuple[Document, ...]:
    """All documents, the languages in turns, so that the first few are mixed too.

    Args:
        documents: by language; the same texts in the same order where English is among them.
        exercises: by language.
    """
    yardsticks = documents.get(_YARDSTICK, ())
    lists = [
        [
            Document(member=language, text=text, letters=len((english or text).encode()))
            for text, english in itertools.zip_longest(texts, yardsticks[: len(texts)])
        ]
        for language, texts in documents.items()
    ] + [
        [
            Document(
                member=f"{language}, exercises",
                text=text,
                letters=len(text.encode()),
                is_exercise=True,
            )
            for text in texts
        ]
        for language, texts in exercises.items()
    ]
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return tuple(document for document in turns if document is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilingual:
    """The probe of `edge.multilingual`."""

    checks: ClassVar[tuple[str, ...]] = (_ROW,)
    is_mixed: ClassVar[bool] = True  # languages take turns
    documents: tuple[Document, ...]
    half_known: frozenset[str] = frozenset()
    """Members of which only a share of the logarithm counts."""
    left_out: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Members that are not asked, and why."""
    most_members: int = 64
    """How many members are asked: those that the reference knows best."""

    @property
    def size(self) -> int:
        """Documents."""
        return len(self.documents)

    def take(self, numbers: Sequence[int]) -> Multilingual:
        """The same probe with these of its documents, in this order."""
        return dataclasses.replace(
            self, documents=tuple(self.documents[number] for number in numbers)
        )

    def work(self, tokenizer: TokenizerClient) -> Work:
        # what does not fit is cut: a document has no answer at its end that could be lost
        texts = tokenizer.begin([document.text for document in self.documents])
        ids = [one[: tokenizer.context_tokens] for one in texts]
        if min(len(one) for one in ids) < 3:
            raise MeasurementError(f"{_ROW}: got a document of fewer than 3 tokens")
        ranges = [
            ScoredRange(member=document.member, span=number, start=1, stop=len(one))
            for number, (document, one) in enumerate(zip(self.documents, ids, strict=True))
        ]
        return Work(spans=tuple(Span(ids=one, first=0) for one in ids), ranges=tuple(ranges))

    def scout(self) -> Multilingual:
        """What the reference is asked first: a few documents of each member."""
        return self._first({document.member: _SCOUTS for document in self.documents})

    def narrowed(self, work: Work, outcome: Outcome) -> Multilingual:
        """The members that the reference speaks, by what it made of the scout's documents.

        Raises:
            NotApplicable: there is none.
        """
        scouted = self.scout()
        bits, letters = dict.fromkeys(scouted.members, 0.0), dict.fromkeys(scouted.members, 0)
        for document, nll in zip(scouted.documents, outcome.nll_nats, strict=True):
            bits[document.member] += float(nll.sum()) / math.log(2)
            letters[document.member] += document.letters
        exercises = {one.member for one in self.documents if one.is_exercise}
        counts: dict[str, int] = {}
        left_out: dict[str, str] = {}
        half_known: set[str] = set()
        found_bits = {member: bits[member] / letters[member] for member in bits}
        for member, found in found_bits.items():
            most = _LEARNED_BITS if member in exercises else _SPOKEN_BITS
            if found <= most:
                counts[member] = self.size
            elif found <= _HALF_KNOWN_BITS and member not in exercises:
                counts[member] = _HALF_KNOWN_DOCUMENTS
                half_known.add(member)
            else:
                most = most if member in exercises else _HALF_KNOWN_BITS
                left_out[member] = f"got {found:.2f} bits a byte; expected at most {most:g}"
        _require_spoken(counts, left_out)
        by_knowledge = sorted(counts, key=lambda member: (member in half_known, found_bits[member]))
        for member in by_knowledge[self.most_members :]:
            del counts[member]
            left_out[member] = f"the reference knows {self.most_members} others better"
        kept = frozenset(half_known & counts.keys())
        return dataclasses.replace(self._first(counts), half_known=kept, left_out=left_out)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(document.member for document in self.documents))

    def _first(self, counts: Mapping[str, int]) -> Multilingual:
        """So many documents of each member."""
        left, chosen = dict(counts), []
        for number, document in enumerate(self.documents):
            if left.get(document.member, 0) > 0:
                left[document.member] -= 1
                chosen.append(number)
        return self.take(chosen)

    def read(self, pair: Pair) -> PerplexityFamily:
        family = PerplexityFamily.read(pair)
        members = {
            name: dataclasses.replace(tokens, share_of_log=_SHARE_OF_LOG)
            if name in self.half_known
            else tokens
            for name, tokens in family.members.items()
        }
        half = sorted(self.half_known)
        more = {
            **({"left_out": dict(self.left_out)} if self.left_out else {}),
            **({"half_known": half, "share_of_log": _SHARE_OF_LOG} if half else {}),
        }
        return dataclasses.replace(family, members=members, more=more)


def _require_spoken(counts: Mapping[str, int], left_out: Mapping[str, str]) -> None:
    if not counts:
        member, why = next(iter(left_out.items()))
        raise NotApplicable(
            f"{_ROW}: the reference speaks none of {len(left_out)} languages: {member}: {why}"
        )
