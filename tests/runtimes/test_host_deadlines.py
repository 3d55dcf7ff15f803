"""A child that talks without end, or of nothing, is ended; one that was paused with all is not."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from qgate import errors
from qgate.runtimes import patience
from qgate.runtimes.verbs import TOKENIZE
from tests.runtimes.conftest import start

Planted = Callable[[str], str]

TALKING = r"""
import gc, io, json, os
import numpy as np
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def tokenize(self, text):
        if not text:
            return np.arange(3), np.arange(3)
        [self.out] = [one for one in gc.get_objects() if isinstance(one, io.FileIO)
                      and one.mode == "wb" and one.fileno() > 2]
        exec(text)
    def talk(self, *messages):
        lines = b"".join(json.dumps(one).encode() + b"\n" for one in messages)
        lines *= 4096 // len(lines)  # so much is written whole, whoever writes beside it
        while True:
            self.out.write(lines)
    def step(self, done):
        return {"id": 2, "progress": {"what": "thinking", "done": done, "total": 9}}
"""
WORDS = {
    "signs of life": "self.talk({'alive': True})",
    "the same step": "self.talk(self.step(3))",
    "answers to what nobody asked": "self.talk({'id': 1, 'result': {}})",
}


def ask_twice(runtime: str, words: str, stall_s: float) -> str:
    """What comes of a child that first answers, and the second time talks; then it is gone."""
    with start(runtime, stall_s=stall_s) as host:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(patience, "_STALLS_OF_A_CALL", 24)
            TOKENIZE.ask(host, "")  # Python has started
        with pytest.raises(errors.RuntimeFailed) as caught:
            TOKENIZE.ask(host, words)
        assert not Path(f"/proc/{host.pid}/exe").exists()
        with pytest.raises(errors.RuntimeFailed) as again:
            TOKENIZE.ask(host, "")
    assert str(again.value) == str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS.keys())
@pytest.mark.alone
def test_talking_without_end_is_no_progress_and_is_not_hoarded(
    planted: Planted, words: str
) -> None:
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began_s = time.monotonic()

    line = ask_twice(planted(TALKING), words, stall_s=3.0)

    assert line == "runtime hung: no progress in tokenize for 3 s"
    assert time.monotonic() - began_s < 3.0 + 6.0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 64 * 1024


def test_steps_that_lead_nowhere_have_an_end(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "_STALLS_OF_A_CALL", 0)
    monkeypatch.setattr(patience, "_TOKEN_S", 0.25)
    words = "self.talk(self.step(3), self.step(4))"

    line = ask_twice(planted(TALKING), words, stall_s=3.0)

    tokens = len(words) // 8 + 1  # 8 letters are taken for one
    assert line == f"runtime hung: no end of tokenize within {tokens / 4:g} s"


def test_a_line_without_end_is_cut(planted: Planted) -> None:
    line = ask_twice(planted(TALKING), "while True: self.out.write(b' ' * 65536)", stall_s=60.0)

    assert line == "runtime: unreadable answer to tokenize: got a line of more than 4 MiB"


def test_an_answer_that_ends_in_its_middle_is_a_crash(planted: Planted) -> None:
    words = 'self.out.write(b\'{"id": 2, "res\'); os.abort()'

    line = ask_twice(planted(TALKING), words, stall_s=60.0)

    assert line == "runtime crashed: SIGABRT in tokenize"


WAITING = """
import sys
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.verbs import TOKENIZE
with Host(HostSettings(runtime=sys.argv[1], stall_s=3.0)) as host:
    TOKENIZE.ask(host, "pass")
    print(host.pid, flush=True)
    print(TOKENIZE.ask(host, sys.argv[2]).ids.tolist(), flush=True)
"""
WORKING = """
import time
from pathlib import Path
import numpy as np
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def tokenize(self, text):
        exec(text)
        return np.arange(3), np.arange(3)
"""


@pytest.mark.alone
def test_a_pause_of_all_is_no_hang(planted: Planted, tmp_path: Path) -> None:
    """As `docker pause` does it, or a virtual machine that is stalled."""
    begun = tmp_path / "begun"
    work = f"Path({str(begun)!r}).touch()\nfor _ in range(10): time.sleep(0.1)"
    command = [sys.executable, "-c", WAITING, planted(WORKING), work]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as parent:
        assert parent.stdout is not None
        everybody = (parent.pid, int(parent.stdout.readline()))
        while not begun.exists() and parent.poll() is None:
            time.sleep(0.01)
        try:
            for pid in everybody:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(3.5)  # the pause
        finally:
            for pid in everybody:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        said = parent.stdout.read()

    assert said == "[0, 1, 2]\n"
