"""A request is timed token by token where it is served, and no token goes missing unnoticed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.worker.token_timing import time_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.runtimes.base import Runtime

PROMPT = np.arange(8, 16, dtype=np.int32)


class Metronome:
    """A runtime that needs so long to begin and so long a token, and has so many."""

    def __init__(self, begin_s: float = 0.0, token_s: float = 0.0, lose: int = 0) -> None:
        self.begin_s, self.token_s, self.lose = begin_s, token_s, lose
        self.asked: list[tuple[list[int], int]] = []

    def stream(self, ids: np.ndarray, count: int) -> Iterator[int]:
        self.asked.append((ids.tolist(), count))
        time.sleep(self.begin_s)
        for token in range(count - self.lose):
            time.sleep(self.token_s)
            yield token


def times_of(metronome: Metronome, count: int) -> np.ndarray:
    return time_request(cast("Runtime", metronome), PROMPT, count)


@pytest.mark.alone
def test_times_count_from_the_request_and_rise() -> None:
    metronome = Metronome(begin_s=0.05, token_s=0.01)

    at_s = times_of(metronome, 6)

    assert metronome.asked == [(PROMPT.tolist(), 6)]
    assert at_s.shape == (6,)
    assert at_s[0] >= 0.06
    assert (np.diff(at_s) >= 0.01).all()


@pytest.mark.parametrize("lose", [1, 5, -1])
def test_lost_tokens_are_an_error(lose: int) -> None:
    with pytest.raises(MeasurementError, match=f"lost tokens: got {5 - lose}; expected 5"):
        times_of(Metronome(lose=lose), 5)
