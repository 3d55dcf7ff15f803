"""Long texts of the fake runtime's tokenizer, and where their ranges lie."""

from __future__ import annotations

from collections.abc import Callable

from qgate.measure.edge.long_input import LongInput
from qgate.reference.prompts import read_texts
from qgate.runtimes.requests import ScoredRange, TokenizerClient, Work
from qgate.thresholds import shipped_path

Speak = Callable[[int], TokenizerClient]
PROSE = read_texts(shipped_path().parent / "prompts" / "prose.jsonl")
CONTEXTS = (800, 1024, 1537, 4096)
PARTS = 4
TEXTS = {800: 32, 1024: 24, 1537: 12, 4096: 4}
"""In all parts together, by the context: as many as take the time of one of 4096 tokens."""
Planned = tuple[int, Work]
"""A context, and the texts for it."""


def facts_a_quarter(context: int) -> int:
    """Few long texts would have too few of them."""
    return 1 if context <= 1024 else 0


def plan(speak: Speak, context: int) -> Work:
    return LongInput(fillers=PROSE, most_tokens=10**6).work(speak(context))


def lengths_of(context: int) -> list[int]:
    return [int(context * share) for share in (0.25, 0.5, 0.75, 1.0)]


def ranges_of(work: Work, beginning: str) -> list[ScoredRange]:
    return [part for part in work.ranges if part.member.startswith(beginning)]
