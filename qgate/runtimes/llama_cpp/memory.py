"""What llama.cpp says that it allocated, read from its log.

    load_tensors:   CPU_Mapped model buffer size =     6.95 MiB     weights, one line a device
    llama_kv_cache:        CPU KV buffer size =     1.00 MiB
    llama_context:        CPU  output buffer size =     0.01 MiB
    sched_reserve:        CPU compute buffer size =     4.51 MiB

llama-cpp-python binds no function for it (`llama_get_memory_breakdown` returns a C++ map); the log
has two decimals, so that a buffer is known to 5 kB. Agrees with what `llama-bench -v` and
llama-server print.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError
from qgate.runtimes.base import Buffers

if TYPE_CHECKING:
    from collections.abc import Iterable

_BUFFER = re.compile(r"(model|KV|RS|output|compute) buffer size\s*=\s*([0-9.]+) MiB")
_CELLS = re.compile(r"llama_kv_cache(?:_unified)?: size\s*=.*?\(\s*([0-9]+) cells")
_MIB = 1024 * 1024


def weights_bytes(lines: Iterable[str]) -> int:
    """Of the model's buffers on all devices, from what loading it logged."""
    return _total(lines, ("model",))


def buffers(weights: int, lines: Iterable[str]) -> Buffers:
    """From what making a context logged.

    Raises:
        MeasurementError: the log does not tell; nothing is assumed to be zero.
    """
    lines = list(lines)
    cells = [int(match[1]) for line in lines if (match := _CELLS.search(line))]
    compute = _total(lines, ("compute",))
    found = Buffers(
        weights_bytes=weights,
        kv_cache_bytes=_total(lines, ("KV",)),
        compute_bytes=compute + _total(lines, ("output",)),
        context_tokens=max(cells, default=0),
    )
    if not (weights and found.kv_cache_bytes and compute and found.context_tokens):
        raise MeasurementError(
            f"llama.cpp's log does not tell what it allocated: got {found}; expected every buffer"
        )
    return found


def _total(lines: Iterable[str], kinds: tuple[str, ...]) -> int:
    found = [match for line in lines if (match := _BUFFER.search(line))]
    return round(sum(float(match[2]) for match in found if match[1] in kinds) * _MIB)
