"""How fast this machine multiplies and reads memory: half a second of measuring, no model.

A language model's prompt is bound by multiplications, token after token by memory that is read:
these two numbers and the size of the weights tell its time to a factor, which is what an estimate
before a run needs. Peer: `llama-bench` measures the model itself, which takes a model to be loaded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_MATRIX = 1024
_BUFFER_BYTES = 96 << 20
"""Beyond any cache."""
_REPEATS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpeed:
    """Of the CPU, all cores together."""

    flops: float
    """Floating-point operations a second of a float32 matrix product."""
    bytes_per_s: float
    """Read and written by a copy of memory."""


def measure_speed() -> MachineSpeed:
    """Time a matrix product and a copy of memory: the best of a few, as neighbours slow down."""
    import numpy as np

    left = np.random.default_rng(0).random((_MATRIX, _MATRIX), dtype=np.float32)
    buffer = np.zeros(_BUFFER_BYTES, dtype=np.uint8)
    copy = np.empty_like(buffer)
    product_s = _best_s(lambda: left @ left)
    copy_s = _best_s(lambda: np.copyto(copy, buffer))
    return MachineSpeed(flops=2 * _MATRIX**3 / product_s, bytes_per_s=2 * _BUFFER_BYTES / copy_s)


def _best_s(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
