"""Arrays of different lengths as one flat array and their sizes: how they cross the pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from collections.abc import Sequence


def to_flat(arrays: Sequence[np.ndarray], dtype: str) -> dict[str, np.ndarray]:
    """`flat`, all values one after the other, and `sizes`, int32."""
    flat = np.concatenate(arrays) if arrays else np.zeros(0)
    return {
        "flat": flat.astype(dtype),
        "sizes": np.array([len(array) for array in arrays], dtype=np.int32),
    }


def from_flat(value: dict[str, Any]) -> tuple[np.ndarray, ...]:
    """The inverse of `to_flat`.

    Raises:
        MeasurementError: the sizes do not add up to what is there.
    """
    flat, sizes = value["flat"], np.asarray(value["sizes"])
    if int(sizes.sum()) != len(flat) or (len(sizes) and int(sizes.min()) < 0):
        raise MeasurementError(f"ragged array: got {len(flat)} values; expected {int(sizes.sum())}")
    return tuple(np.split(flat, np.cumsum(sizes)[:-1])) if len(sizes) else ()
