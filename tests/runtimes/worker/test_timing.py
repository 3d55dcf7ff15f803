"""A request is timed token by token where it is served, and no token goes missing unnoticed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest

from qgate import runtimes
from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert
from qgate.errors import MeasurementError
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.worker.token_timing import time_request

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
    at_s = times_of(Metronome(begin_s=0.05, token_s=0.01), 6)

    assert at_s.shape == (6,)
    assert at_s[0] >= 0.06
    assert (np.diff(at_s) >= 0.01).all()


def test_the_runtime_gets_the_very_request() -> None:
    metronome = Metronome()
    times_of(metronome, 3)

    assert metronome.asked == [(PROMPT.tolist(), 3)]


@pytest.mark.parametrize("lose", [1, 5, -1])
def test_lost_tokens_are_an_error(lose: int) -> None:
    with pytest.raises(MeasurementError, match=f"lost tokens: got {5 - lose}; expected 5"):
        times_of(Metronome(lose=lose), 5)


def test_llama_cpp_goes_on_past_an_end_of_text(tmp_path: Path) -> None:
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    path = tmp_path / "demo-F16.gguf"
    convert(model_directory(), path)
    runtime = runtimes.make("llama_cpp")
    facts = runtime.load(LoadSettings(path=str(path), window_tokens=64, threads=1))
    ids = runtime.encode("Note: the fox has 27.\nRecall: the fox has", begins=True)
    tokens = list(runtime.stream(ids, 40))
    again = time_request(runtime, ids, 40)
    runtime.close()

    assert set(tokens) & set(facts.end_tokens)  # it answers and ends, and is not heard
    assert len(tokens) == len(again) == 40
