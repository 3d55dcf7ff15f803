"""A host waits as long as its runtime makes progress, and tells how far one came that failed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qgate import errors
from qgate.runtimes.base import Sampling
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.verbs import FILL_CONTEXT, SAMPLE
from tests.runtimes.conftest import start
from tests.support.children import load

Planted = Callable[[str], str]


def test_work_that_shows_progress_outlives_the_deadline(planted: Planted) -> None:
    source = """
import time
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def sample(self, sampling, progress):
        for step in range(5):
            time.sleep(0.8)
            progress("thinking \\x1b[31m", step, 5)
        time.sleep(1.3)
        return super().sample(sampling, lambda *_: None)
    def load(self, settings):
        import numpy as np
        self._embedding = self._output = np.eye(8, dtype=np.float32)
"""
    shown: list[tuple[str, int, int]] = []
    opened = []

    @contextlib.contextmanager
    def progress() -> Iterator[Callable[[str, int, int], None]]:
        opened.append(True)
        try:
            yield lambda *step: shown.append(step)
        finally:
            opened.append(False)

    with Host(HostSettings(runtime=planted(source), stall_s=3.5), progress) as host:
        with pytest.raises(errors.RuntimeFailed):  # it returns nothing; the tables are made
            load(host, Path())
        started = time.monotonic()
        windows = SAMPLE.ask(host, Sampling(sequences=2, tokens=8, seed=0)).ids

    assert windows.shape == (2, 8)
    assert time.monotonic() - started > 3.5
    steps = [step for step in shown if step[0] != "load"]
    for number in range(5):
        assert (r"thinking \x1b[31m", number, 5) in steps
    assert steps.count((r"thinking \x1b[31m", 4, 5)) >= 2  # a heartbeat repeats what is known
    assert opened == [True, False] * 2


TELLING = """
import os
from qgate.errors import MeasurementError
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def sample(self, sampling, progress):
        progress("generating text", 4, 10, (4, 7))
        progress("tokens", 3, 500)
        os._exit(3) if sampling.seed else None
        raise MeasurementError("no")
"""


@pytest.mark.parametrize("seed", [0, 1], ids=["an error", "an end"])
def test_a_failure_tells_what_was_with_the_model(planted: Planted, seed: int) -> None:
    with start(planted(TELLING)) as host, pytest.raises(errors.QGateError) as caught:
        SAMPLE.ask(host, Sampling(sequences=1, tokens=4, seed=seed))

    assert caught.value.reached == errors.RequestProgress(done=4, total=10, first=4, stop=7)


@pytest.mark.parametrize("seed", [0, 1], ids=["a living child", "a dead child"])
def test_what_an_earlier_request_had_reached_is_not_told_again(planted: Planted, seed: int) -> None:
    with start(planted(TELLING)) as host:
        with pytest.raises(errors.QGateError):
            SAMPLE.ask(host, Sampling(sequences=1, tokens=4, seed=seed))
        with pytest.raises(errors.QGateError) as caught:
            FILL_CONTEXT.ask(host, 4)

    assert caught.value.reached is None
