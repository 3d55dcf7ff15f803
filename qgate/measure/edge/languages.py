"""`edge.multilingual`: is any one language damaged, though English is sound?

Short documents in several languages and scripts (`thresholds/prompts/languages.jsonl`), each scored
from its beginning; one member a language. Quantization hurts scripts of many bytes a word and
languages of little training text first (Marchisio et al. 2024, arXiv:2407.03211).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from qgate.errors import MeasurementError
from qgate.measure.edge.families import PerplexityFamily
from qgate.measure.work import Mark, Work
from qgate.runtimes.base import Span

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.measure.work import Pair, Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class Multilingual:
    """The probe of `edge.multilingual`."""

    checks: ClassVar[tuple[str, ...]] = ("edge.multilingual",)
    documents: Mapping[str, tuple[str, ...]]
    """By language."""

    def work(self, speaker: Speaker) -> Work:
        texts = [(name, text) for name, documents in self.documents.items() for text in documents]
        # what does not fit is cut: a document has no answer at its end that could be lost
        ids = [one[: speaker.context_tokens] for one in speaker.begin([text for _, text in texts])]
        if min(len(one) for one in ids) < 3:
            raise MeasurementError("edge.multilingual: got a document of fewer than 3 tokens")
        marks = [
            Mark(member=name, span=number, start=1, stop=len(one))
            for number, ((name, _), one) in enumerate(zip(texts, ids, strict=True))
        ]
        return Work(spans=tuple(Span(ids=one, first=0) for one in ids), marks=tuple(marks))

    def read(self, pair: Pair) -> PerplexityFamily:
        return PerplexityFamily.read(pair)
