"""An artifact on the reference's tokens: likelihoods and divergences, paired with the original."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.artifacts.escape import printable
from qgate.errors import MeasurementError
from qgate.measure.perplexity import ROWS, Samples, explain
from qgate.reference import require_same_vocabulary, score_arguments

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate
    from qgate.reference import Reference
    from qgate.serving import Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """An artifact's samples, with what the report tells about getting them."""

    samples: Samples
    seconds: float
    decode_seconds: float

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return ROWS[check](self.samples, level=level)

    def details(self, check: str) -> dict[str, Any]:
        return explain(check, self.samples)

    def headline(self) -> dict[str, float]:
        return {
            "scoring_s": round(self.seconds, 3),
            "decode_s": round(self.decode_seconds, 3),
            "scored_tokens": float(len(self.samples.nll_nats)),
            "compared_positions": float(len(self.samples.kl_nats)),
        }


def measure_divergence(serving: Serving, reference: Reference) -> Divergence:
    """Score the reference's windows with the artifact, paired with the stored original.

    Raises:
        QGateError: the artifact does not fit, or the runtime lost something.
    """
    from qgate.runtimes.scoring import window_digests

    windows = reference.windows
    require_same_vocabulary(serving.artifact, serving.load(), reference)
    with serving.phase("perplexity"):
        scored = serving.host.call("score", **score_arguments(reference))
    if scored["digests"] != window_digests(windows.ids):
        raise MeasurementError(
            f"{serving.artifact.id}: the runtime scored other tokens than the reference's:"
            f" got {len(scored['digests'])} windows; expected the {len(windows.ids)} that were sent"
        )
    samples = Samples(
        nll_nats=scored["nll_nats"],
        reference_nll_nats=reference.nll_nats,
        clusters=windows.clusters.reshape(-1),
        kl_nats=scored["kl_nats"],
        same_top=scored["same_top"],
        compared=reference.compared,
        scored_per_window=windows.clusters.shape[1],
        covered_mass=scored.get("covered_mass"),
        why_partition=_why_partition(scored, reference),
    )
    return Divergence(samples=samples, seconds=scored["total_s"], decode_seconds=scored["decode_s"])


def _why_partition(scored: Mapping[str, Any], reference: Reference) -> str:
    """Why less than the whole vocabulary was compared; empty where it all was, or nobody says."""
    why = printable(str(scored.get("why_partition", "")))
    if why or reference.stored.encoding != "top_k":
        return why
    return (
        "of the original only its likeliest tokens are kept; delete its store to measure it again"
    )
