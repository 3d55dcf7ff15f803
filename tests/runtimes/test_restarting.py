"""The reference's child may crash once; the second time both causes are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import errors
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.restarting import RestartingHost
from qgate.runtimes.verbs import DESCRIBE
from tests.conftest import Toy, write_toy
from tests.support.children import load, score

if TYPE_CHECKING:
    from pathlib import Path

Planted = Callable[[str], str]

WINDOWS = np.random.default_rng(3).integers(0, 64, size=(3, 32)).astype(np.int32)
CRASHING = """
import os, signal
from pathlib import Path
from qgate.runtimes.fake.adapter import Fake
SIGNALS = [getattr(signal, name) for name in "{signals}".split()]
class Planted(Fake):
    def load(self, settings):
        if "{where}" == "load":
            self.crash()
        return super().load(settings)
    def logits_of_windows(self, windows, first, *, with_hidden):
        if "{where}" == "score":
            self.crash()
        return super().logits_of_windows(windows, first, with_hidden=with_hidden)
    def crash(self):
        crashes = Path(__file__).with_name("crashes")
        count = len(crashes.read_text()) if crashes.exists() else 0
        crashes.write_text("x" * (count + 1))
        if count < len(SIGNALS):
            os.kill(os.getpid(), SIGNALS[count])
"""


class Starts:
    """Starts children and counts them."""

    def __init__(self, runtime: str) -> None:
        self.settings, self.count = HostSettings(runtime=runtime, stall_s=60.0), 0

    def __call__(self) -> Host:
        self.count += 1
        return Host(self.settings)


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    write_toy(tmp_path / "toy.gguf", Toy(scheme="F32"))
    return tmp_path / "toy.gguf"


@pytest.mark.parametrize("where", ["load", "score"])
def test_a_child_that_crashed_once_is_started_again(
    planted: Planted, toy: Path, where: str
) -> None:
    starts = Starts(planted(CRASHING.replace("{signals}", "SIGSEGV").replace("{where}", where)))

    with RestartingHost(starts) as host:
        facts = load(host, toy)
        scored = score(host, WINDOWS)

    assert facts.n_vocab == 64
    assert scored.nll_nats is not None
    assert len(scored.nll_nats) == 45
    assert starts.count == 2


def test_one_that_crashes_again_says_what_came_first(planted: Planted, toy: Path) -> None:
    source = CRASHING.replace("{signals}", "SIGSEGV SIGABRT").replace("{where}", "score")
    starts = Starts(planted(source))
    twice = "runtime crashed: {} in {} (started again after: runtime crashed: SIGSEGV in score)"

    with RestartingHost(starts) as host:
        load(host, toy)
        for verb in ("score", "describe"):
            with pytest.raises(errors.RuntimeFailed) as caught:
                score(host, WINDOWS) if verb == "score" else DESCRIBE.ask(host, None)
            assert str(caught.value) == twice.format("SIGABRT", verb)
    assert starts.count == 2


def test_what_is_no_crash_is_not_tried_again(tmp_path: Path) -> None:
    starts = Starts("fake")

    with RestartingHost(starts) as host:
        for _ in range(2):
            with pytest.raises(errors.ArtifactError):
                load(host, tmp_path / "nothing.gguf")
    assert starts.count == 1
