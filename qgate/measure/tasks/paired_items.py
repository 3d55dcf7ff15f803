"""What two sides' answers to the same items have in common, right or wrong or scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_MOST_SHOWN = 5
_LONGEST_SHOWN = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedItems:
    """One row's values for every item, and what the report shows of those on which sides differ."""

    artifact: np.ndarray
    """Shape (n,): bool, or float of which more is better."""
    reference: np.ndarray
    """The same items, in the same order."""
    prompts: tuple[str, ...]
    artifact_texts: tuple[str, ...]
    reference_texts: tuple[str, ...]
    expected: tuple[str, ...] = ()
    """The right answers, where there are such."""
    groups: tuple[str, ...] | None = None
    """What each item is about; None: all about something of their own."""
    min_reference: float | None = None
    """The least share or score of the reference that the user set; None: not set."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What the report tells beside: JSON values."""

    @property
    def labels(self) -> np.ndarray | None:
        """The groups, as statistics take them."""
        return None if self.groups is None else np.array(self.groups)

    def shares(self, lost: int, gained: int) -> dict[str, Any]:
        """Both sides' means and what changed, for the report."""
        return {
            "share": float(self.artifact.mean()),
            "reference_share": float(self.reference.mean()),
            "lost": lost,
            "gained": gained,
        }

    def told(self) -> dict[str, Any]:
        """What the user set, and what the report tells beside."""
        least = {} if self.min_reference is None else {"min_reference": self.min_reference}
        return {**least, **self.more}

    def both_answers(self, numbers: Iterable[int]) -> list[dict[str, str]]:
        """The first five of these items, texts cut.

        Prompts are cut at their beginning, for what is asked stands at their end.
        """
        shown = []
        for number in list(numbers)[:_MOST_SHOWN]:
            sample = {
                "prompt": self.prompts[number][-_LONGEST_SHOWN:],
                "reference": self.reference_texts[number][:_LONGEST_SHOWN],
                "artifact": self.artifact_texts[number][:_LONGEST_SHOWN],
            }
            if self.expected:
                sample["expected"] = self.expected[number][:_LONGEST_SHOWN]
            shown.append(sample)
        return shown
