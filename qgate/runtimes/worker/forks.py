"""Choices of one item share their prompt: which neighbours do, so that it is read once for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.runtimes.base import Span

_LEAST_SHARED = 8
"""Tokens of a prompt that are worth sharing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """Neighbouring spans with one prompt, which ends where their scoring begins."""

    prompt: np.ndarray
    """Shape (n,), int32."""
    first: int
    """Number of the first of its spans."""
    stop: int
    """Behind the last."""


def find_forks(spans: Sequence[Span]) -> list[Fork]:
    """Every span in a fork of its own or with its neighbours; empty where none share a prompt."""
    forks: list[Fork] = []
    for number, span in enumerate(spans):
        prompt = span.ids[: span.first + 1]
        if forks and np.array_equal(forks[-1].prompt, prompt):
            forks[-1] = Fork(prompt=prompt, first=forks[-1].first, stop=number + 1)
        else:
            forks.append(Fork(prompt=prompt, first=number, stop=number + 1))
    shared = any(one.stop - one.first > 1 and len(one.prompt) >= _LEAST_SHARED for one in forks)
    return forks if shared else []
