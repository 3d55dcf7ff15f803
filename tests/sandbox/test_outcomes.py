"""What passes, what does not, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qgate.sandbox import Isolation, Limits, Outcome, Program, run_programs

Run = Callable[..., Outcome]

ADDS = "def add(a, b):\n    return a + b\n"
ORDINARY = """
import asyncio, collections, dataclasses, multiprocessing, pickle, subprocess, tempfile, threading
import http.server, urllib.request

@dataclasses.dataclass
class Point:
    x: int

assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
assert Point.__annotations__["x"] is int
assert subprocess.run(["/bin/sh", "-c", "echo 3"], capture_output=True).stdout == b"3\\n"
with tempfile.NamedTemporaryFile("w+") as stream:
    stream.write("kept")
    stream.seek(0)
    assert stream.read() == "kept"
seen = []
threads = [threading.Thread(target=seen.append, args=(n,)) for n in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert sorted(seen) == [0, 1, 2, 3]

async def answer():
    await asyncio.sleep(0.01)
    return 42

assert asyncio.run(answer()) == 42
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map(abs, [-1, -2]) == [1, 2]
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
threading.Thread(target=server.handle_request).start()
try:
    urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/")
except urllib.error.HTTPError as error:
    assert error.code == 501
else:
    assert False
"""


def test_a_program_that_runs_to_its_last_line_passes(run: Run) -> None:
    outcome = run(ADDS + "assert add(1, 2) == 3\n")

    assert (outcome.passed, outcome.why) == (True, "")
    assert 0.0 < outcome.wall_s < 20.0


def test_the_standard_library_works(run: Run) -> None:
    assert run(ORDINARY).why == ""


def test_a_program_has_no_input_and_no_arguments(run: Run) -> None:
    code = "import sys\nassert len(sys.argv) == 1\ninput()\n"
    assert run(code).why == "EOFError: EOF when reading a line (line 3: input())"


def test_what_a_program_does_only_as_a_script_it_does_not_do_under_its_tests(run: Run) -> None:
    """As under Hugging Face's code_eval: models like to end with a main that reads its input."""
    script = 'if __name__ == "__main__":\n    print(add(*map(int, input().split())))\n'
    assert run(ADDS + script + "assert add(1, 2) == 3\n").why == ""


def test_classes_of_a_program_know_their_module(run: Run) -> None:
    code = "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: 'int' = 1\n"
    assert run(code + "import pickle\nassert pickle.loads(pickle.dumps(P())) == P()\n").why == ""


def test_sets_have_the_same_order_in_every_run(run: Run) -> None:
    first = run("raise ValueError(list({'a', 'b', 'c', 'd', 'e', 'f', 'g'}))")
    again = run("raise ValueError(list({'a', 'b', 'c', 'd', 'e', 'f', 'g'}))")

    assert first.why.startswith("ValueError: [")
    assert again.why == first.why


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (ADDS + "assert add(1, 2) == 4\n", "AssertionError (line 3: assert add(1, 2) == 4)"),
        ("assert 1 == 2, 'one is\\nnot two'", "AssertionError: one is not two (line 1: assert 1"),
        ("def f(:\n", "SyntaxError: invalid syntax (line 1)"),
        ("'\x00'", ("ValueError: source code string", "SyntaxError: source code string")),
        (
            "x = 1\nundefined(x)",
            "NameError: name 'undefined' is not defined (line 2: undefined(x))",
        ),
        ("def f(n):\n    return f(n + 1)\nf(0)", "RecursionError: maximum recursion depth"),
        ("import numpy", "ModuleNotFoundError: No module named 'numpy' (line 1: import numpy)"),
        ("raise ValueError('\\x1b[31m' * 999)", "ValueError: \\x1b[31m\\x1b[31m"),
        ("raise ValueError('\\ud800')", "ValueError: \\ud800"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "E"),
        ("import ctypes; ctypes.string_at(0)", "left before its end: exit code 139 (SIGSEGV)"),
        ("import os; print('bye'); os.abort()", "left before its end: exit code 134 (SIGABRT)"),
    ],
)
def test_what_stopped_a_program_is_said_on_one_line(
    run: Run, code: str, why: str | tuple[str, ...]
) -> None:
    outcome = run(code)

    assert not outcome.passed
    assert outcome.why.startswith(why), outcome.why
    assert outcome.why.isprintable()
    assert len(outcome.why) <= 301


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit(0)", "left before its end: sys.exit(0)"),
        ("raise SystemExit", "left before its end: sys.exit(None)"),
        ("import os; os._exit(0)", "left before its end: exit code 0"),
        ("import os; os.execv('/bin/true', ['true'])", "left before its end: exit code 0"),
        ("import os; os.kill(os.getpid(), 9)", "left before its end: exit code 137 (SIGKILL)"),
        ("import os; os.fork() and os._exit(0)", "left before its end: exit code 0"),
        (
            "import os, signal\nsignal.signal(signal.SIGALRM, lambda *_: os._exit(0))\n"
            "signal.alarm(1)\nwhile True: pass",
            "left before its end: exit code 0",
        ),
        ("print('passed'); import os; os._exit(0)", "left before its end: exit code 0"),
        (
            "import os\nfor n in range(3, 1024):\n  try: os.write(n, b'began\\npassed')\n"
            "  except OSError: pass\nos._exit(0)",
            "began passed",
        ),
        (
            "import os\nfor n in range(3, 1024):\n  try: word = os.read(n, 4096)\n"
            "  except OSError: continue\n  for m in range(3, 1024):\n"
            "    try: os.write(m, word)\n    except OSError: pass\nos._exit(0)",
            "said what only the runner may say",
        ),
        ("import atexit, os; atexit.register(os._exit, 3)", "left after its end: exit code 3"),
    ],
)
def test_leaving_early_is_no_pass(run: Run, code: str, why: str) -> None:
    outcome = run(code)

    assert not outcome.passed
    assert outcome.why.startswith(why), outcome.why


def test_programs_keep_their_order(isolation: Isolation) -> None:
    steps = []
    programs = [
        Program(name=str(n), code=f"import time; time.sleep({(n * 7 % 5) / 20}); assert {n} % 3")
        for n in range(12)
    ]
    outcomes = run_programs(
        programs, Limits(), isolation, lambda what, done, total: steps.append((what, done, total))
    )

    assert [outcome.passed for outcome in outcomes] == [n % 3 > 0 for n in range(12)]
    assert steps == [("programs", n, 12) for n in range(1, 13)]


def test_no_programs_have_no_outcomes(isolation: Isolation) -> None:
    assert run_programs([], Limits(), isolation) == []
