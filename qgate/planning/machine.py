"""How fast this machine multiplies and runs Python: half a second of measuring, no model.

A language model's time is that of its products: of many tokens in a call where it reads, of some
where answers are written side by side, of one where a token waits for the last. A runtime that has
a library of its own is measured by that (`RuntimeSpec.speed`), others by numpy. Peer: `llama-bench`
measures the model itself, which takes a model to be loaded.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_WIDTH = 4096
_READ_WIDTH, _READ_TOKENS = 1024, 512
_TOGETHER_TOKENS = 16
_REPEATS = 4
_PATIENCE_S = 20.0
_PACKED_BYTES, _HALF_BYTES = 0.5625, 2.0
"""Of a weight in Q4_K and F16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplying:
    """Seconds that a product with one weight takes for one token, all processors together."""

    read_s: float
    """Of 512 tokens in a call."""
    together_s: float
    """Of 16."""
    alone_s: float
    """Of one, with weights of 16 bits."""
    alone_packed_s: float
    """Of one, with weights of 4.5 bits."""

    def fetch_s(self, bytes_per_weight: float) -> float:
        """Of one token: on the line through the two that were measured, and never below both."""
        slope = (self.alone_s - self.alone_packed_s) / (_HALF_BYTES - _PACKED_BYTES)
        line = self.alone_packed_s + slope * (bytes_per_weight - _PACKED_BYTES)
        return max(line, min(self.alone_s, self.alone_packed_s) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpeed:
    """Of the processors that may be used."""

    products: Multiplying
    python_s: float
    """Of 100,000 additions in Python."""


def measure_script(
    module: str, python: str, environment: Mapping[str, str], threads: int
) -> Multiplying | None:
    """Ask a runtime's own library by its script; None where that does not work.

    Args:
        module: `RuntimeSpec.speed`.
        python: the interpreter that the runtime's children run under.
        environment: of such a child.
        threads: that it will have.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    command = [python, "-P", spec.origin, str(threads)]
    try:
        done = subprocess.run(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE_S,
            check=True,
        )
        found = Multiplying(**json.loads(done.stdout))
        return found if found.fetch_s(1.0) * found.read_s * found.together_s > 0 else None
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None  # an estimate may be missing, or by numpy; no run hangs on it


def measure_numpy() -> Multiplying:
    """Time float32 products; weights of fewer bits are taken to be read as fast as these."""
    import numpy as np

    weights = np.ones((_WIDTH, _WIDTH), dtype=np.float32)
    block = weights[:_READ_WIDTH, :_READ_WIDTH].copy()
    many = np.ones((_READ_WIDTH, _READ_TOKENS), dtype=np.float32)
    some = np.ones((_WIDTH, _TOGETHER_TOKENS), dtype=np.float32)
    one = np.ones(_WIDTH, dtype=np.float32)
    byte_s = _best_s(lambda: weights @ one) / weights.nbytes
    return Multiplying(
        read_s=_best_s(lambda: block @ many) / (block.size * _READ_TOKENS),
        together_s=_best_s(lambda: weights @ some) / (weights.size * _TOGETHER_TOKENS),
        alone_s=byte_s * _HALF_BYTES,
        alone_packed_s=byte_s * _PACKED_BYTES,
    )


def measure_python() -> float:
    """Seconds of 100,000 additions."""
    return _best_s(lambda: sum(number * number for number in range(100_000)))


def _best_s(work: Callable[[], object]) -> float:
    """The best of a few, as neighbours slow down."""
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return min(taken)
