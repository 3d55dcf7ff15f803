"""Windows of tokens, and which of their tokens are scored."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """What is scored, and which scored tokens belong together.

    A runtime is asked about every token behind position `first` of each window, which it does
    fastest; those that are `scored` count.
    """

    ids: np.ndarray
    """Shape (n, window_tokens), int32."""
    clusters: np.ndarray
    """Cluster of each token behind `first`, shape (n, window_tokens - 1 - first), int64."""
    clustered_by: str
    """`document`, `conversation` or `window`."""
    scored: np.ndarray
    """Whether each of these tokens counts, the same shape, bool."""
    slices: tuple[str, ...] = ()
    """What tokens are about, e.g. `code`; empty where nobody said."""
    topics: np.ndarray | None = None
    """Which of these each token behind `first` is about, the same shape, int32; -1: none."""

    asked: str = ""
    """How prompts were put to the model; empty where there were none."""

    @property
    def first(self) -> int:
        """First position whose successor is scored."""
        return int(self.ids.shape[1]) - 1 - int(self.clusters.shape[1])

    @property
    def owners(self) -> np.ndarray:
        """Cluster of each token that counts, shape (scored tokens,)."""
        return self.pick(self.clusters)

    @property
    def numbers(self) -> np.ndarray:
        """Window of each token that counts, shape (scored tokens,)."""
        return np.nonzero(self.scored)[0]

    @property
    def positions(self) -> np.ndarray:
        """Position in its window of each token that counts, shape (scored tokens,)."""
        return np.nonzero(self.scored)[1] + self.first + 1

    def take(self, numbers: np.ndarray) -> Windows:
        """These windows alone, in this order."""
        return dataclasses.replace(
            self,
            ids=self.ids[numbers],
            clusters=self.clusters[numbers],
            scored=self.scored[numbers],
            topics=None if self.topics is None else self.topics[numbers],
        )

    def pick(self, values: np.ndarray) -> np.ndarray:
        """Of one value for each token behind `first` those that count, shape (scored tokens,)."""
        picked: np.ndarray = values.reshape(self.scored.shape)[self.scored]
        return picked

    def kept(self, stride: int) -> np.ndarray:
        """Of every `stride`-th token behind `first`: whether it counts, flat, bool."""
        return self.scored[:, ::stride].reshape(-1)

    def compared(self, stride: int) -> np.ndarray:
        """Places of those that are kept and count among the tokens that count."""
        place = np.cumsum(self.scored.reshape(-1)).reshape(self.scored.shape) - 1
        found: np.ndarray = place[:, ::stride].reshape(-1)[self.kept(stride)]
        return found


def by_window(ids: np.ndarray, first: int) -> np.ndarray:
    """Clusters where each window stands for itself."""
    numbers = np.arange(len(ids), dtype=np.int64)
    return np.repeat(numbers[:, None], ids.shape[1] - 1 - first, axis=1)
