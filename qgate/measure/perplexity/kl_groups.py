"""The mean divergence by groups of tokens: bookkeeping over what was compared anyway.

confidence   the reference's probability of its first token. Where it is undecided divergences
are large whatever the artifact; damage shows where it is sure (exllamav3's qbench
uses the same buckets)
slice        what the question is about
position     which quarter of the window the token lies in
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from qgate.reference.samples import Samples

CONFIDENCE_EDGES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
_QUARTERS = 4


def group(samples: Samples, kl_nats: np.ndarray) -> dict[str, dict[str, dict[str, float]]]:
    """`{"slice": {"code": {"n": 812, "kl_mean_nats": 0.0051}, ...}, ...}`, groups in their order.

    Args:
        samples: of one artifact.
        kl_nats: its divergences, shape (compared positions,).
    """
    quarters = np.minimum((samples.places[samples.compared] * _QUARTERS).astype(int), _QUARTERS - 1)
    names = [f"{number + 1} of {_QUARTERS}" for number in range(_QUARTERS)]
    found = {"position": _means(quarters, names, kl_nats)}
    if samples.topics is not None:
        topics = samples.topics[samples.compared]
        found = {"slice": _means(topics, list(samples.slices), kl_nats), **found}
    if samples.confidence is not None:
        inner = CONFIDENCE_EDGES[1:-1]
        numbers = np.digitize(samples.confidence, inner)
        names = [_bucket(number) for number in range(len(inner) + 1)]
        found = {"confidence": _means(numbers, names, kl_nats), **found}
    return found


def _bucket(number: int) -> str:
    low, high = CONFIDENCE_EDGES[number : number + 2]
    return f"{low:g} to {high:g}"


def _means(numbers: np.ndarray, names: list[str], values: np.ndarray) -> dict[str, dict[str, Any]]:
    """Of each group that has any."""
    return {
        name: {"n": int(mine.sum()), "kl_mean_nats": float(values[mine].mean())}
        for number, name in enumerate(names)
        if (mine := numbers == number).any()
    }
