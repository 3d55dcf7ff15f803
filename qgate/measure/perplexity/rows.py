"""Perplexity and divergence: from two models on the same tokens to estimates.

    perplexity           exp(mean nll)                          one model
    perplexity.increase  exp(mean nll_a) - exp(mean nll_r)      artifact less reference
    perplexity.ratio     exp(mean (nll_a - nll_r))              paired by token
    divergence.kl_mean   mean of KL(reference || artifact)      nats a token
    divergence.kl_p99    its 99th percentile over tokens
    divergence.same_top  share of tokens where both rank the same token first

Where a runtime tells only the likeliest tokens, the divergences are lower bounds over a partition
of the vocabulary (`qgate.runtimes.worker.partition_kl`), and how much of the reference's mass was
compared token by token stands beside them.

Point values agree with `llama-perplexity` on the same windows (its `PPL(Q)-PPL(base)`,
`PPL(Q)/PPL(base)`, mean and 99 % KLD, `Same top p`) up to the 16-bit rounding of its base file. Its
`+-` does not agree: it treats tokens as independent, the intervals here respect documents.
"""

from __future__ import annotations

import dataclasses
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from qgate import stats
from qgate.measure.perplexity.kl_groups import group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate
    from qgate.reference.samples import Samples

MIN_COVERED_MASS = 0.95
"""Mean mass of the reference that must be compared token by token. What is not compared counts as
one token; damage within it is not seen, however large it is."""
_SURER_TEXT = "Name a text that the reference is surer of: text: {source: FILE}"
"""What covers more mass where a runtime tells no more."""
_HISTOGRAM_EDGES = np.logspace(-7, 2, 55)


class _Row(Protocol):
    def __call__(self, samples: Samples, *, level: float) -> Estimate: ...


def _increase(samples: Samples, *, level: float) -> Estimate:
    return stats.perplexity_increase(
        samples.nll_nats, samples.reference_nll_nats, samples.clusters, level=level
    )


def _ratio(samples: Samples, *, level: float) -> Estimate:
    return stats.perplexity_ratio(
        samples.nll_nats, samples.reference_nll_nats, samples.clusters, level=level
    )


def _kl_mean(samples: Samples, *, level: float) -> Estimate:
    found = stats.mean_interval(
        _kl(samples), _compared_clusters(samples), level=level, unit="nats", floor=0.0
    )
    return _as_bound(samples, found)


def _kl_p99(samples: Samples, *, level: float) -> Estimate:
    found = stats.quantile_interval(
        _kl(samples), _compared_clusters(samples), 0.99, level=level, unit="nats"
    )
    return _as_bound(samples, found, worst=0.01)


def _same_top(samples: Samples, *, level: float) -> Estimate:
    return stats.proportion_interval(
        samples.same_top, _compared_clusters(samples), level=level, unit="fraction"
    )


def _kl(samples: Samples) -> np.ndarray:
    """A divergence is never negative; what rounding leaves below zero is zero."""
    kl: np.ndarray = np.maximum(samples.kl_nats, 0.0)
    return kl


def _as_bound(samples: Samples, found: Estimate, worst: float = 0.0) -> Estimate:
    """Of a divergence over less than the whole vocabulary: a lower bound, and how far it goes.

    The mean mass counts; for a row about a tail that of the share of positions with the least.

    Where little is left over it is near the value and may pass; else it can fail only.
    """
    if samples.covered_mass is None:
        return found
    mass = float(np.quantile(samples.covered_mass, worst) if worst else samples.covered_mass.mean())
    is_open = mass < MIN_COVERED_MASS
    said = f"a lower bound: {mass * 100:.1f} % of the reference's mass was compared token by token"
    if is_open:
        said += f", a pass needs {MIN_COVERED_MASS * 100:g} %"
    said += f": {samples.why_partition}" if samples.why_partition else f". {_SURER_TEXT}"
    return dataclasses.replace(found, lower_bound=said, is_open=is_open)


def _compared_clusters(samples: Samples) -> np.ndarray:
    clusters: np.ndarray = samples.clusters[samples.compared]
    return clusters


ROWS: Mapping[str, _Row] = MappingProxyType(
    {
        "perplexity.increase": _increase,
        "perplexity.ratio": _ratio,
        "divergence.kl_mean": _kl_mean,
        "divergence.kl_p99": _kl_p99,
        "divergence.same_top": _same_top,
    }
)
"""check name -> estimate"""


def explain(name: str, samples: Samples) -> dict[str, Any]:
    """What the report keeps beside the number of a row."""
    windows = {"windows": int(samples.windows.max(initial=-1)) + 1}
    return {**windows, **_explain(name, samples)}


def _explain(name: str, samples: Samples) -> dict[str, Any]:
    if name == "perplexity.increase":
        return {"reference_perplexity": math.exp(float(samples.reference_nll_nats.mean()))}
    if name == "divergence.kl_mean":
        return {
            "kl_histogram": _histogram(samples),
            "worst_windows": _worst_windows(samples),
            "kl_by": group(samples, _kl(samples)),
            **_bound(samples),
        }
    if name == "divergence.kl_p99":
        return _bound(samples)
    if name == "perplexity.ratio":
        return {
            "nll_nats": float(samples.nll_nats.mean()),
            "reference_nll_nats": float(samples.reference_nll_nats.mean()),
        }
    return {}


def _bound(samples: Samples) -> dict[str, Any]:
    """How a divergence over less than the whole vocabulary is to be read."""
    if samples.covered_mass is None:
        return {}
    return {
        "bound": "lower bound: likeliest tokens one by one, all others as one",
        "covered_mass": float(samples.covered_mass.mean()),
        "covered_mass_p1": float(np.quantile(samples.covered_mass, 0.01)),
        **({"why_partition": samples.why_partition} if samples.why_partition else {}),
    }


def _histogram(samples: Samples) -> dict[str, Any]:
    kl = _kl(samples)
    counts, _ = np.histogram(kl, _HISTOGRAM_EDGES)
    return {
        "edges_nats": [float(f"{edge:.6g}") for edge in _HISTOGRAM_EDGES],
        "counts": counts.tolist(),
        "below": int((kl < _HISTOGRAM_EDGES[0]).sum()),
        "above": int((kl > _HISTOGRAM_EDGES[-1]).sum()),
    }


def _worst_windows(samples: Samples, count: int = 10) -> list[dict[str, Any]]:
    """Where to look first: the windows with the largest mean divergence."""
    means = _means(samples.windows[samples.compared], _kl(samples))
    damage = _means(samples.windows, samples.nll_nats - samples.reference_nll_nats)
    return [
        {
            "window": int(number),
            "kl_mean_nats": float(means[number]),
            "nll_increase_nats": float(damage[number]),
        }
        for number in np.argsort(means)[::-1][:count]
    ]


def _means(owners: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of the values of each owner, 0 of one without any."""
    found: np.ndarray = np.bincount(owners, weights=values) / np.maximum(np.bincount(owners), 1)
    return found
