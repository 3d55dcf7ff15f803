"""What a hostile program cannot use up: time, memory, disk, processes, output."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import qgate
from qgate.sandbox import Isolation, Limits, Outcome, Program, run_programs

Run = Callable[..., Outcome]
Named = Callable[[str], list[int]]

CALLS_ITSELF = "import ctypes\nctypes.CDLL(None).prctl(15, b'{mark}', 0, 0, 0)\n"
"""PR_SET_NAME: forks keep the name."""
BOMB = """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
"""
DAEMON = """
import os, signal, time
told, tell = os.pipe()
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        signal.signal(number, signal.SIG_IGN) if number not in (9, 19, 32, 33) else None
    if os.fork() == 0:
        os.write(tell, b"up")
        os.closerange(0, 64)
        time.sleep(60)
    os._exit(0)
os.wait()
assert os.read(told, 2) == b"up"
"""


@pytest.fixture
def mark() -> str:
    return f"qg-{secrets.token_hex(5)}"


def gone(named: Named, mark: str, within_s: float = 3.0) -> bool:
    until = time.monotonic() + within_s
    while named(mark):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


ENDLESS = (
    "import time\nwhile True: time.sleep(1)",
    "import signal\n[signal.signal(n, signal.SIG_IGN) for n in (2, 15, 24)]\nsignal.pause()",
    "import os\nos.fork()\nimport time\ntime.sleep(60)",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()",
    "import atexit, time\natexit.register(time.sleep, 60)",
)


@pytest.mark.alone
def test_programs_that_do_not_end_are_stopped(isolation: Isolation) -> None:
    programs = [Program(name=code, code=code) for code in ENDLESS]
    for outcome in run_programs(programs, Limits(wall_s=1.0), isolation):
        assert outcome.why == "stopped after 1 s"
        assert outcome.wall_s < 5.0


def test_a_spinning_program_is_stopped_by_its_cpu_time(run: Run) -> None:
    ignores = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\n"
    spins = "while True: pass"

    assert run(spins, cpu_s=1).why == "left before its end: exit code 152 (SIGXCPU)"
    assert run(ignores + spins, cpu_s=1).why == "left before its end: exit code 137 (SIGKILL)"


def test_a_fork_bomb_stays_small_and_leaves_no_process(run: Run, named: Named, mark: str) -> None:
    most, ended = [0], threading.Event()

    def count() -> None:
        while not ended.wait(0.02):
            most[0] = max(most[0], len(named(mark)))

    counting = threading.Thread(target=count)
    counting.start()
    outcome = run(CALLS_ITSELF.format(mark=mark) + BOMB, wall_s=2.0, processes=12)
    ended.set()
    counting.join()

    assert outcome.why == "stopped after 2 s"
    assert 3 <= most[0] <= 12
    assert gone(named, mark)


def test_a_daemon_goes_with_the_program_that_started_it(run: Run, named: Named, mark: str) -> None:
    outcome = run(CALLS_ITSELF.format(mark=mark) + DAEMON)

    assert outcome.why == ""
    assert outcome.wall_s < 5.0
    assert gone(named, mark)


@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(10 * 10**9)",
        "x = [0]\nwhile True: x += x",
        "import mmap\nmmap.mmap(-1, 10 * 10**9)",
    ],
)
def test_memory_has_an_end(run: Run, code: str) -> None:
    outcome = run(code)

    assert outcome.why.startswith(("MemoryError", "OSError: [Errno 12]")), outcome.why
    assert outcome.wall_s < 5.0


def test_a_file_has_an_end_and_so_have_all_files_together(run: Run) -> None:
    one = "stream = open('big', 'wb', buffering=0)\nwhile True: stream.write(bytes(1 << 20))"
    many = "n = 0\nwhile True:\n  open(str(n), 'wb').write(bytes(1 << 20))\n  n += 1"

    assert run(one).why.startswith("OSError: [Errno 27] File too large")
    assert run(many).why.startswith("OSError: [Errno 28] No space left on device")


def test_open_files_have_an_end(run: Run) -> None:
    code = "x = []\nwhile True: x.append(open('/dev/null'))"
    assert run(code).why.startswith("OSError: [Errno 24] Too many open files")


def test_endless_printing_is_stopped(run: Run) -> None:
    assert run("while True: print('x' * 999)").why == "stopped: printed more than 65536 bytes"
    assert run("import os\nwhile True: os.write(2, b'x' * 99)", output_bytes=500).why == (
        "stopped: printed more than 500 bytes"
    )
    assert run("print('x' * 400)", output_bytes=500).why == ""


def test_last_words_are_cut(run: Run) -> None:
    outcome = run("import os; print('x' * 9999, flush=True); os._exit(0)")
    assert outcome.why == f"left before its end: exit code 0; last words: {'x' * 300}…"


CALLER = """
import sys
from qgate.sandbox import Limits, Program, find_isolation, run_programs
tool, code = sys.argv[1:]
run_programs([Program(name="a", code=code)], Limits(wall_s=4.0), find_isolation([tool]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.alone
def test_a_sandbox_goes_with_its_caller(
    isolation: Isolation, named: Named, mark: str, number: signal.Signals
) -> None:
    code = CALLS_ITSELF.format(mark=mark) + "import time; time.sleep(60)"
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, isolation.tool.name, code],
        env={**os.environ, "PYTHONPATH": str(Path(qgate.__file__).parents[1])},
        stderr=subprocess.DEVNULL,
    )
    until = time.monotonic() + 20.0
    while not named(mark):
        assert time.monotonic() < until
        time.sleep(0.02)
    os.kill(caller.pid, number)
    begun = time.monotonic()
    caller.wait(timeout=10.0)

    assert time.monotonic() - begun < 5.0
    assert gone(named, mark)


@pytest.mark.alone
def test_a_caller_that_is_interrupted_stops_its_programs(isolation: Isolation) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    programs = [Program(name="short", code="")]
    programs += [Program(name=str(n), code="import time; time.sleep(60)") for n in range(6)]
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_programs(programs, Limits(wall_s=60.0), isolation, interrupt)

    assert time.monotonic() - begun < 5.0
