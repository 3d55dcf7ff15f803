"""Both sides' raw values of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """Raw values of one artifact, in the order of the reference's windows."""

    nll_nats: np.ndarray
    """Artifact, shape (scored tokens,), float64."""
    reference_nll_nats: np.ndarray
    """The same tokens under the reference."""
    clusters: np.ndarray
    """Which document or window each scored token belongs to."""
    kl_nats: np.ndarray
    """Shape (compared positions,), float64."""
    same_top: np.ndarray
    """Same shape, bool."""
    compared: np.ndarray
    """Indices of the compared positions among the scored tokens."""
    windows: np.ndarray
    """The window of each scored token, counted from 0."""
    places: np.ndarray
    """Where in its window each scored token lies, above 0 and below 1."""
    slices: tuple[str, ...] = ()
    """What tokens are about; empty where nobody said."""
    topics: np.ndarray | None = None
    """Which of these each scored token is about."""
    confidence: np.ndarray | None = None
    """The original's probability of the token that it ranks first at each compared position; None
    where its runtime does not tell."""
    covered_mass: np.ndarray | None = None
    """The original's probability mass that was compared token by token at each compared position,
    0 to 1; None where the whole vocabulary was."""
    why_partition: str = ""
    """Why the whole vocabulary was not compared, and what would have it compared."""

    def __post_init__(self) -> None:
        wanted = len(self.reference_nll_nats)
        if len(self.nll_nats) != wanted or len(self.clusters) != wanted:
            raise MeasurementError(
                f"lost samples: got {len(self.nll_nats)} scored tokens; expected {wanted}"
            )
        if not len(self.kl_nats) == len(self.same_top) == len(self.compared):
            raise MeasurementError(
                f"lost samples: got {len(self.kl_nats)} divergences; expected {len(self.compared)}"
            )
        if self.covered_mass is not None and len(self.covered_mass) != len(self.compared):
            raise MeasurementError(
                f"lost samples: got {len(self.covered_mass)} covered masses;"
                f" expected {len(self.compared)}"
            )
