"""Arrays of different lengths cross the pipe and come back as they were, or not at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes import wire
from qgate.runtimes.ragged import from_flat, to_flat

SIZES = [[], [0], [3], [0, 0], [2, 0, 5], [1] * 40, [0, 1000, 0]]


def arrays_of(sizes: list[int], dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(len(sizes))
    return [rng.integers(0, 2, size).astype(dtype) for size in sizes]


@pytest.mark.parametrize("dtype", ["<i4", "<f8", "|b1"])
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_what_is_sent_is_what_arrives(sizes: list[int], dtype: str) -> None:
    sent = arrays_of(sizes, dtype)

    arrived = from_flat(wire.decode(wire.encode({"sent": to_flat(sent, dtype)}))["sent"])

    assert len(arrived) == len(sent)
    for one, other in zip(sent, arrived, strict=True):
        assert other.dtype == np.dtype(dtype)
        assert other.tobytes() == one.tobytes()


def test_likelihoods_keep_every_bit() -> None:
    sent = [np.array([np.pi, 1e-300, np.nextafter(1.0, 2.0)]), np.array([-0.0])]

    arrived = from_flat(to_flat(sent, "<f8"))

    assert [one.tobytes() for one in arrived] == [one.tobytes() for one in sent]


WRONG: dict[str, dict[str, Any]] = {
    "one value too few": {"flat": np.zeros(4), "sizes": np.array([2, 3])},
    "one value too many": {"flat": np.zeros(6), "sizes": np.array([2, 3])},
    "values of nobody": {"flat": np.zeros(1), "sizes": np.zeros(0, dtype=np.int32)},
    "nothing of somebody": {"flat": np.zeros(0), "sizes": np.array([1])},
    "a size below zero": {"flat": np.zeros(4), "sizes": np.array([5, -1])},
    "sizes that cancel out": {"flat": np.zeros(0), "sizes": np.array([2, -2])},
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG.keys())
def test_sizes_that_do_not_fit_are_refused(value: dict[str, Any]) -> None:
    with pytest.raises(MeasurementError, match=r"^ragged array: got \d values; expected -?\d$"):
        from_flat(value)
