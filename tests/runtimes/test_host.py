"""A runtime crashes, hangs, leaves or lies; its host says so in one line and goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import errors
from qgate.runtimes import host as host_module
from qgate.runtimes import patience
from qgate.runtimes.confined.starting import Confinement
from qgate.runtimes.verbs import DESCRIBE, TOKENIZE
from tests.conftest import Toy
from tests.runtimes.conftest import start
from tests.support.children import load, score

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Toys = Callable[..., Path]
Planted = Callable[[str], str]

WINDOWS = np.random.default_rng(3).integers(0, 64, size=(3, 32)).astype(np.int32)
ECHO = """
import os, signal, sys, time
import numpy as np
from qgate.runtimes.fake.adapter import Fake
class Planted(Fake):
    def tokenize(self, text):
        exec(text)
        return np.arange(3), np.arange(3)
"""


def tokenize(host: Host, text: str) -> list[int]:
    return TOKENIZE.ask(host, text).ids.tolist()


def load_and_score(host: Host, path: Path) -> None:
    load(host, path)
    score(host, WINDOWS)


FAULTS = [
    ("segfault:load", errors.RuntimeFailed, "runtime crashed: SIGSEGV in load"),
    ("abort:load", errors.RuntimeFailed, "runtime crashed: SIGABRT in load"),
    ("exit0:load", errors.RuntimeFailed, "runtime ended in load without a result: exit code 0"),
    ("hang:load", errors.RuntimeFailed, "runtime hung: no progress in load for 2.5 s"),
    (
        "unavailable:load",
        errors.RuntimeUnavailable,
        "runtime 'fake' was told to be unavailable. Install nothing",
    ),
    ("segfault:score", errors.RuntimeFailed, "runtime crashed: SIGSEGV in score"),
    ("abort:score", errors.RuntimeFailed, "runtime crashed: SIGABRT in score"),
    ("exit0:score", errors.RuntimeFailed, "runtime ended in score without a result: exit code 0"),
    ("hang:score", errors.RuntimeFailed, "runtime hung: no progress in score for 2.5 s"),
    (
        "nan:score",
        errors.MeasurementError,
        "logits are not finite: window 0, position 24",
    ),
    (
        "lose:score",
        errors.MeasurementError,
        "lost samples: got 15 rows of logits; expected 16",
    ),
]


@pytest.mark.parametrize(("fault", "kind", "line"), FAULTS, ids=[fault for fault, _, _ in FAULTS])
def test_a_fault_is_an_error_of_its_class_in_one_line(
    toys: Toys, fault: str, kind: type[Exception], line: str
) -> None:
    path = toys(broken=Toy(fault=fault)) / "broken.gguf"

    stall_s = 2.5 if fault.startswith("hang") else 60.0

    with start(stall_s=stall_s) as host:
        started = time.monotonic()
        with pytest.raises(errors.QGateError) as caught:
            load_and_score(host, path)
        took_s = time.monotonic() - started

    assert type(caught.value) is kind
    assert str(caught.value) == line
    if fault.startswith("hang"):
        assert took_s < stall_s + 2.0 + 2.0  # the last is for starting Python on a busy machine


def test_a_model_that_says_nothing_is_measured_as_such(toys: Toys) -> None:
    path = toys(broken=Toy(fault="constant:score")) / "broken.gguf"

    with start() as host:
        load(host, path)
        scored = score(host, WINDOWS)

    assert scored.nll_nats == pytest.approx(np.full(45, np.log(64)))


@pytest.fixture
def echo(planted: Planted) -> Iterator[Host]:
    """A child that runs what it is asked to tokenize."""
    with start(planted(ECHO), stall_s=20.0) as host:
        yield host


def test_an_error_carries_the_last_words_of_the_child(echo: Host) -> None:
    words = "print('loading', file=sys.stderr); print('boom: row 7\\n', file=sys.stderr);"

    with pytest.raises(errors.RuntimeFailed) as caught:
        tokenize(echo, words + "sys.stderr.flush(); os.abort()")

    assert str(caught.value) == "runtime crashed: SIGABRT in tokenize; last words: 'boom: row 7'"
    assert caught.value.last_words == "loading\nboom: row 7"


def test_last_words_cannot_steer_a_terminal(echo: Host) -> None:
    hostile = r"sys.stderr.write('\x1b[2J\x1b]0;owned\x07\r ok\n'); os.kill(os.getpid(), 9)"

    with pytest.raises(errors.RuntimeFailed) as caught:
        tokenize(echo, hostile)

    assert str(caught.value) == (
        "runtime crashed: SIGKILL in tokenize (out of memory?);"
        r" last words: '\x1b[2J\x1b]0;owned\x07\r ok'"
    )
    assert caught.value.last_words.isprintable()


def test_an_exception_in_the_adapter_is_one_line_and_the_child_lives(echo: Host) -> None:
    with pytest.raises(errors.RuntimeFailed) as caught:
        tokenize(echo, "raise KeyError('a\\nb\\x1b')")

    assert str(caught.value).startswith(r"KeyError in tokenize: 'a\nb\x1b'; last words: 'KeyError")
    assert "Traceback" in caught.value.last_words
    assert tokenize(echo, "pass") == [0, 1, 2]


def test_running_out_of_memory_is_named(echo: Host) -> None:
    with pytest.raises(errors.RuntimeFailed, match=r"^out of memory in tokenize"):
        tokenize(echo, "raise MemoryError")


def test_a_signal_without_a_name_is_told_by_its_number(echo: Host) -> None:
    with pytest.raises(errors.RuntimeFailed, match=r"^runtime crashed: signal 40 in tokenize"):
        tokenize(echo, "os.kill(os.getpid(), 40)")


def test_asking_a_dead_child_again_says_the_same(echo: Host) -> None:
    for verb in (TOKENIZE, DESCRIBE, DESCRIBE):
        line = f"^runtime ended in {verb.name} .* exit code 3$"
        with pytest.raises(errors.RuntimeFailed, match=line):
            verb.ask(echo, "os._exit(3)")


def test_a_crash_is_noticed_though_a_grandchild_holds_the_pipes(echo: Host) -> None:
    fork = "0 if os.fork() else time.sleep(60); os.kill(os.getpid(), signal.SIGSEGV)"

    started = time.monotonic()
    with pytest.raises(errors.RuntimeFailed, match=r"^runtime crashed: SIGSEGV in tokenize"):
        tokenize(echo, fork)

    assert time.monotonic() - started < 10.0


def test_what_a_library_prints_does_not_reach_the_answers(echo: Host) -> None:
    noisy = """
print('{"id": 1, "result": {}}', flush=True)
os.write(1, b'{"id": 1, "result": {}}\\n' * 1000)
os.system("echo garbage; echo '{' >&2")
"""
    assert tokenize(echo, noisy) == [0, 1, 2]


ASKING: dict[str, Callable[[Host], object]] = {
    "describe": lambda host: DESCRIBE.ask(host, None),
    # the windows fill more than a pipe, so that not even the request can be written
    "score": lambda host: score(host, np.tile(WINDOWS, (2000, 1))),
}


@pytest.mark.parametrize(("verb", "ask"), ASKING.items())
@pytest.mark.alone
def test_a_frozen_child_is_noticed(
    toys: Toys, monkeypatch: pytest.MonkeyPatch, verb: str, ask: Callable[[Host], object]
) -> None:
    path = toys() / "original.gguf"
    with start(stall_s=60.0) as host:
        load(host, path)
        monkeypatch.setattr(patience, "SILENCE_S", 1.5)
        os.kill(host.pid, signal.SIGSTOP)

        started = time.monotonic()
        with pytest.raises(errors.RuntimeFailed) as caught:
            ask(host)

        assert str(caught.value) == f"runtime hung: no sign of life in {verb} for 1.5 s"
        assert time.monotonic() - started < 1.5 + 2.0
        with pytest.raises(errors.RuntimeFailed, match=r"^runtime hung: no sign of life in"):
            DESCRIBE.ask(host, None)


def test_a_frozen_child_can_be_closed(toys: Toys) -> None:
    host = start()
    load(host, toys() / "original.gguf")
    os.kill(host.pid, signal.SIGSTOP)
    host._sender = host_module._thread(host._send, b" " * 1_000_000)
    pid = host.pid

    started = time.monotonic()
    host.close()

    assert time.monotonic() - started < 6.0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


LIES = {
    "no result": b'{"id": 1}',
    "a result that is a list": b'{"id": 1, "result": []}',
    "an error that is text": b'{"id": 1, "error": "sorry"}',
    "progress that is text": b'{"id": 1, "progress": "soon"}',
    "progress to infinity": b'{"id": 1, "progress": {"what": 1, "done": 1e999, "total": 1}}',
    "progress without an end": b'{"id": 1, "progress": {"what": "", "done": 1}}',
    "a place that is text": b'{"id": 1, "progress": {"what": 1, "done": 1, "total": 1, "at": "1"}}',
    "three places": b'{"id": 1, "progress": {"what": 1, "done": 1, "total": 1, "at": [1, 2, 3]}}',
    "no place": b'{"id": 1, "progress": {"what": 1, "done": 1, "total": 1, "at": null}}',
    "not JSON": b"Segmentation fault",
}


@pytest.mark.parametrize("line", LIES.values(), ids=LIES.keys())
def test_an_answer_that_is_none_is_refused(planted: Planted, line: bytes) -> None:
    source = f"""
import gc, io, time
class Planted:
    def describe(self):
        answers = [o for o in gc.get_objects() if isinstance(o, io.FileIO) and o.mode == "wb"]
        for file in answers:
            if file.fileno() > 2:
                file.write({line!r} + b"\\n")
        time.sleep(0.5)
"""
    with (
        start(planted(source)) as host,
        pytest.raises(errors.RuntimeFailed, match=r"^runtime: unreadable answer( to describe)?: "),
    ):
        DESCRIBE.ask(host, None)


def test_a_code_above_128_is_no_signal_of_a_child_that_is_not_confined(planted: Planted) -> None:
    """Only a shell, or what confines, says a signal so."""
    not_confined = Confinement(why_not="qgate_confine = off")

    with (
        start(planted(ECHO), confinement=not_confined) as host,
        pytest.raises(errors.RuntimeFailed) as caught,
    ):
        tokenize(host, "os._exit(139)")

    assert str(caught.value) == "runtime ended in tokenize without a result: exit code 139"
