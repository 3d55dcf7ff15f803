"""Both sides' raw values of the same tokens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from qgate.errors import MeasurementError


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
    """The reference's probability of the token that it ranks first at each compared position; None
    where its runtime does not tell."""
    covered_mass: np.ndarray | None = None
    """The reference's probability mass that was compared token by token at each compared position,
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

    def followed_by(self, more: Samples) -> Samples:
        """These, and those of more windows, whose clusters are others.

        Args:
            more: of the same artifact, against the same reference, of the same slices.

        Raises:
            MeasurementError: of other slices.
        """
        if self.slices != more.slices:
            raise MeasurementError(
                f"samples: got the slices {', '.join(more.slices)}; expected"
                f" {', '.join(self.slices)}"
            )
        clusters, windows = (1 + int(own.max(initial=-1)) for own in (self.clusters, self.windows))
        masses = [_mass(self), _mass(more)]
        is_whole = self.covered_mass is None and more.covered_mass is None
        return Samples(
            nll_nats=np.concatenate([self.nll_nats, more.nll_nats]),
            reference_nll_nats=np.concatenate([self.reference_nll_nats, more.reference_nll_nats]),
            clusters=np.concatenate([self.clusters, more.clusters + clusters]),
            kl_nats=np.concatenate([self.kl_nats, more.kl_nats]),
            same_top=np.concatenate([self.same_top, more.same_top]),
            compared=np.concatenate([self.compared, more.compared + len(self.nll_nats)]),
            windows=np.concatenate([self.windows, more.windows + windows]),
            places=np.concatenate([self.places, more.places]),
            slices=self.slices,
            topics=_joined(self.topics, more.topics),
            confidence=_joined(self.confidence, more.confidence),
            covered_mass=None if is_whole else np.concatenate(masses),
            why_partition=self.why_partition or more.why_partition,
        )


def _mass(samples: Samples) -> np.ndarray:
    """The mass that was compared at each position: all of it over the whole vocabulary."""
    known = samples.covered_mass
    return np.ones(len(samples.compared)) if known is None else known


def _joined(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return None if first is None or second is None else np.concatenate([first, second])
