"""A small piece of work for a toy model: spans, and prompts in two batches."""

from __future__ import annotations

import numpy as np

from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import ScoredRange, Work


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, dtype=np.int32)


PROMPTS = (
    Prompt(ids=ids(1, 5, 9), max_tokens=6),
    Prompt(ids=ids(1, 7), max_tokens=3),
    Prompt(ids=ids(1, 8, 40, 3), max_tokens=9),
)
SPANS = (
    Span(ids=ids(1, 5, 9, 2, 60), first=2),
    Span(ids=ids(1, 2), first=0),
    Span(ids=ids(*range(3, 60)), first=10),
)
WORK = Work(
    spans=SPANS,
    batches=(Batch(prompts=PROMPTS), Batch(prompts=PROMPTS[:2], batch_size=1)),
    ranges=(ScoredRange(member="en", span=0, start=3, stop=5),),
)
