"""From rows of logits to the next tokens: the likeliest, or drawn. The same in every runtime.

Ancestral samples are drawn by inversion from one stream of uniform numbers a sequence, so that two
runtimes that agree on a distribution draw the same text from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from qgate.runtimes.base import Sampling


def best(rows: np.ndarray) -> list[int]:
    """The most likely token of each row of logits."""
    chosen = rows.argmax(axis=-1)
    # argmax takes a NaN for the largest
    if not np.isfinite(rows[np.arange(len(rows)), chosen]).all():
        raise MeasurementError("the model's logits are not finite while it generates text")
    found: list[int] = chosen.tolist()
    return found


def best_by_far(rows: np.ndarray) -> list[tuple[int, float]]:
    """The most likely token of each row of logits, and its lead over the next; spoils the rows."""
    chosen = best(rows)
    numbers = np.arange(len(rows))
    tops = rows[numbers, chosen].copy()
    rows[numbers, chosen] = -np.inf
    return list(zip(chosen, (tops - rows.max(axis=-1)).tolist(), strict=True))


def uniform_draws(sampling: Sampling) -> np.ndarray:
    """One stream a sequence: the text does not depend on how many are sampled side by side."""
    return np.stack(
        [
            np.random.default_rng([sampling.seed, sequence]).random(sampling.tokens)
            for sequence in range(sampling.sequences)
        ]
    )


def draw(logits: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Ancestral sampling by inversion, shape (rows,)."""
    chosen = np.empty(len(logits), dtype=np.int32)
    for row, values in enumerate(logits):
        weights = np.exp((values - values.max()).astype(np.float64))
        if not np.isfinite(weights).all():
            raise MeasurementError("the model's logits are not finite while it generates text")
        cumulative = np.cumsum(weights)
        chosen[row] = np.searchsorted(cumulative, uniform[row] * cumulative[-1], side="right")
    return chosen
