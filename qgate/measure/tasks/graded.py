"""What one side's answers are worth, item by item, before the sides are compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Graded:
    """The grades of one side."""

    values: np.ndarray
    """Shape (n,): right or wrong as bool or 0 and 1, or a score between."""
    texts: tuple[str, ...]
    """What was said."""
    margins_nats: np.ndarray
    """By how much a wrong choice was preferred, shape (n,); zeros where nothing is chosen."""
    is_empty: np.ndarray
    """Items of which the generated answer says nothing, shape (n,), bool."""
    answer_tokens: np.ndarray
    """Of each generated answer; of no items where nothing is generated."""
    stopped_by: tuple[str, ...] = ()
    """Why the sandbox stopped each item's program, empty where it did not; () where none is run."""
    truncated: int = 0
    """Requests of which the beginning did not fit the context."""

    @property
    def is_binary(self) -> bool:
        """Whether every item is right or wrong."""
        return bool(np.isin(self.values, (0, 1)).all())

    @classmethod
    def joined(cls, parts: Sequence[Graded]) -> Graded:
        """The grades of items that were asked in parts, one part after the other."""
        return cls(
            values=np.concatenate([part.values for part in parts]),
            texts=tuple(text for part in parts for text in part.texts),
            margins_nats=np.concatenate([part.margins_nats for part in parts]),
            is_empty=np.concatenate([part.is_empty for part in parts]),
            answer_tokens=np.concatenate([part.answer_tokens for part in parts]),
            stopped_by=tuple(why for part in parts for why in part.stopped_by),
            truncated=sum(part.truncated for part in parts),
        )
