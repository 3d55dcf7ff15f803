"""Times one request at its token ids, in the child that serves it, with one monotonic clock.

No text is made and nothing crosses a pipe between two readings, so that neither tokenizer nor
transport is part of a number. What the clock says is turned into rows by
`qgate.measure.latency.rows`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError

if TYPE_CHECKING:
    from qgate.runtimes.base import Runtime


def time_request(runtime: Runtime, ids: np.ndarray, count: int) -> np.ndarray:
    """When each of `count` tokens was known: seconds after the request, shape (count,).

    Raises:
        MeasurementError: fewer or more tokens came than were asked for.
    """
    tokens = runtime.stream(ids, count)  # prepares the request; nothing is computed before the loop
    started = time.perf_counter()
    at_s = [time.perf_counter() - started for _ in tokens]
    if len(at_s) != count:
        raise MeasurementError(f"lost tokens: got {len(at_s)}; expected {count}")
    return np.array(at_s)
