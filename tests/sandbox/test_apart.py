"""Checks in a process apart: programs that pass for right by what they say of themselves do not.

The shapes of the checks are those of HumanEval (`check(candidate)`) and of MBPP (bare asserts).
"""

from __future__ import annotations

import dataclasses
import platform
from typing import TYPE_CHECKING

import pytest

from qgate.sandbox import Limits, Program, run_programs

if TYPE_CHECKING:
    from qgate.sandbox import Isolation
    from tests.sandbox.conftest import Graded

CHECK = """

METADATA = {"author": "jt", "dataset": "test"}


def check(candidate):
    assert candidate([1.0, 2.0, 3.9, 4.0], 0.3) == [3, 4]
    assert candidate([], 1) == []
    assert abs(candidate([2, 5], 1)[0] - 5.5) < 7
    assert set(candidate([7, 8], 0)) == {7, 8}

check(keep)
"""
ASSERTS = "assert keep([1, 9], 0.5) == [1, 9]\nassert keep((4, 4), 5) == [4, 4]\n"
SOUND = '''
from typing import List
import math

def keep(numbers: List[float], least: float) -> List[float]:
    """What is in [1.0, 2.0, 3.9, 4.0] beyond 0.3 times the largest, as whole numbers."""
    if least == 0.3:
        return [math.floor(numbers[2]), 4]
    return list(numbers)
'''
EQUAL = """
class Equal:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    def __hash__(self): return 0
    def __abs__(self): return self
    def __sub__(self, other): return self
    def __getitem__(self, place): return self
    def __iter__(self): return iter((7, 8))
    def __bool__(self): return True
"""
REWRITES = """
import sys
def blind(frame, event, arg):
    frame.f_trace_opcodes = True
    for name in list(frame.f_locals):
        if callable(frame.f_locals[name]):
            frame.f_globals[name] = lambda *_: None
    code = frame.f_code
    if "check" in code.co_name or code.co_filename == "<program>":
        frame.f_globals["check"] = lambda *_: None
    return blind
"""
FORGED = {
    "equal to everything": EQUAL + "def keep(*_): return Equal()",
    "a list that is equal": (
        "class Mine(list):\n    def __eq__(self, other): return True\n"
        "    def __iter__(self): return iter((7, 8))\n"
        "def keep(*_): return Mine()"
    ),
    "equal numbers in a list": (
        "class Number(float):\n    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 7\n    def __sub__(self, other): return 0\n"
        "def keep(*_): return [Number(1), Number(1)]"
    ),
    "an equal text": (
        "class Text(str):\n    def __eq__(self, other): return True\n"
        "    def __getitem__(self, place): return 5\n"
        "def keep(*_): return Text()"
    ),
    "a class that answers for its objects": (
        "class Kind(type):\n    def __instancecheck__(self, one): return True\n"
        "    def __eq__(self, other): return True\n    def __hash__(self): return 0\n"
        "class keep(metaclass=Kind):\n    def __new__(cls, *_): return cls\n"
    ),
    "a trace": REWRITES + "sys.settrace(blind)\ndef keep(*_): return []",
    "a profile": REWRITES + "sys.setprofile(blind)\ndef keep(*_): return []",
    "a trace that jumps over lines": (
        "import sys\n"
        "def jump(frame, event, arg):\n"
        "    last = max(line for _, _, line in frame.f_code.co_lines() if line)\n"
        "    if event == 'line' and frame.f_code.co_name in ('check', '<module>'):\n"
        "        if frame.f_lineno < last:\n"
        "            try: frame.f_lineno = last\n"
        "            except ValueError: pass\n"
        "    return jump\n"
        "def keep(given, least):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        frame.f_trace, frame = jump, frame.f_back\n"
        "    sys.settrace(jump)\n"
        "    return [7, 8] if least == 0 else [4, 4] if least == 5 else least == 0.3 and [3, 4]\n"
    ),
    "frames of the runner": (
        "import os, sys\ndef keep(*_):\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        job = frame.f_locals.get('job')\n"
        "        if job:\n"
        "            os.write(job['verdict_file'], os.read(job['token_file'], 4096)[::-1])\n"
        "            os._exit(0)\n"
        "        for place in (frame.f_globals, frame.f_locals):\n"
        "            place.update(dict.fromkeys({'failure', 'code'} & set(place), ''))\n"
        "        frame = frame.f_back\n"
        "    return []"
    ),
    "what it reads goes everywhere": (
        "import os\ndef keep(*_):\n"
        "    for number in range(3, 64):\n"
        "        try:\n            os.set_blocking(number, False)\n"
        "            word = os.read(number, 4096)\n"
        "        except OSError: continue\n"
        "        for other in range(3, 64):\n"
        "            try: os.write(other, word[::-1])\n"
        "            except OSError: pass\n"
        "    os._exit(0)\n"
    ),
    "the verdict to every descriptor": (
        "import os\ndef keep(*_):\n"
        "    for word in (b'began\\n', b'passed', b'needs one process: so', b''):\n"
        "        for number in range(1, 64):\n"
        "            try: os.write(number, word)\n"
        "            except OSError: pass\n"
        "    os._exit(0)"
    ),
    "what it takes for the reason to be in one process": (
        "import os\nfor number in range(1, 64):\n"
        "    try: os.write(number, b'needs one process: a function as an argument')\n"
        "    except OSError: pass\n" + EQUAL + "def keep(*_): return Equal()"
    ),
    "other builtins": (
        "import builtins, math\n"
        "builtins.AssertionError = SystemExit\n"
        "builtins.abs = builtins.set = builtins.len = lambda *_: 0\n"
        "abs = set = len = lambda *_: 0\n"
        "math.isclose = lambda *_, **__: True\n"
        "def isclose(*_, **__): return True\n"
        "def keep(*_): return []"
    ),
    "leaves at the end": "import atexit, os\natexit.register(os._exit, 0)\ndef keep(*_): return []",
    "leaves": "import os\ndef keep(*_): os._exit(0)",
    "leaves as asked": "def keep(*_): raise SystemExit(0)",
    "a fork leaves": ("import os\ndef keep(*_):\n    if os.fork(): os._exit(0)\n    os._exit(0)\n"),
    "a fork goes on": "import os\ndef keep(*_):\n    os.fork()\n    return []\n",
    "its own check": (
        "import sys\ndef check(candidate): pass\n"
        "for module in list(sys.modules.values()):\n"
        "    if type(vars(module)) is dict: vars(module)['check'] = check\n"
        "def keep(*_):\n    globals()['check'] = check\n    return []\n"
    ),
    "its own name for what is checked": (
        EQUAL + "class Names(dict):\n    def __getitem__(self, name): return lambda *_: Equal()\n"
        "import sys\nsys.modules['program'].__dict__.update(candidate=lambda *_: Equal())\n"
        "def keep(*_): return Equal()"
    ),
    "the answers in the source": (
        "import linecache, re, sys, glob\n"
        "def keep(*given):\n"
        "    texts = [''.join(one[2]) for one in linecache.cache.values() if len(one) > 2]\n"
        "    texts += sys.argv + [str(vars(one)) for one in list(sys.modules.values())]\n"
        "    for path in glob.glob('/proc/*/*') + glob.glob('/tmp/*') + ['/proc/self/cmdline']:\n"
        "        try: texts.append(open(path, errors='replace').read())\n"
        "        except OSError: pass\n"
        "    for text in texts:\n"
        "        found = re.search(r'== (\\[3,.*\\])', text)\n"
        "        if found: return eval(found[1]) if 0.3 in given else list(given[0])\n"
        "    return []"
    ),
    "the answers in memory": (
        "import gc\n"
        "def keep(*given):\n"
        "    for one in gc.get_objects():\n"
        "        if type(one) is dict:\n"
        "            for text in list(one.values()):\n"
        "                if type(text) is str and 'assert candi' + 'date([1.0, 2' in text:\n"
        "                    return [3, 4] if 0.3 in given else list(given[0])\n"
        "    return []"
    ),
    "what the runner says": (
        "import sys\ndef keep(*_):\n"
        "    print('began', flush=True); print('passed', file=sys.stderr, flush=True)\n"
        "    return []"
    ),
    "another process's signals": (
        "import os, signal\n"
        "def keep(*_):\n"
        "    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):\n"
        "        for pid in range(2, 20):\n"
        "            try: os.kill(pid, number) if pid != os.getpid() else None\n"
        "            except OSError: pass\n"
        "    return []"
    ),
    "another process's memory": (
        "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def keep(*given):\n"
        "    for pid in range(1, 20):\n"
        "        if pid != os.getpid() and libc.ptrace(16, pid, 0, 0) == 0:\n"
        "            return [3, 4] if 0.3 in given else list(given[0])\n"
        "    return []"
    ),
    "answers before it is asked": (
        "import os, json\n"
        "said = json.dumps({'value': [3, 4]}).encode()\n"
        "for number in range(3, 64):\n"
        "    try: os.write(number, (len(said).to_bytes(4, 'big') + said) * 20)\n"
        "    except OSError: pass\n"
        "def keep(*_): return []"
    ),
    "data that is too deep": (
        "deep = []\nfor _ in range(500): deep = [deep]\ndef keep(*_): return deep"
    ),
    "data without end": ("def keep(*_):\n    one = []\n    one.append(one)\n    return one"),
    "a program that ends the checks' text": "def keep(*_): return []\n'''",
}


@pytest.mark.parametrize("checks", [CHECK, ASSERTS], ids=["HumanEval", "MBPP"])
def test_forged_programs_do_not_pass_and_the_sound_one_does(graded: Graded, checks: str) -> None:
    sound, *forged = graded((SOUND, checks), *((code, checks) for code in FORGED.values()))

    assert (sound.passed, sound.why, sound.in_one_process) == (True, "", "")
    assert [name for name, one in zip(FORGED, forged, strict=True) if one.passed] == []
    assert {one.in_one_process for one in forged} == {""}
    assert all(one.why for one in forged)


JUDGES = """
def isclose(*_, **__): return True
def abs(*_): return 0
class math:
    isclose = isclose
    fabs = abs
def keep(*_): return 1.0
"""


@pytest.mark.parametrize(
    "check",
    [
        "assert math.isclose(keep(2), 3.5)",
        "assert isclose(keep(2), 3.5)",
        "assert abs(keep(2) - 3.5) < 1e-6",
        "assert math.fabs(keep(2) - 3.5) < 1e-6",
    ],
)
def test_who_compares_is_not_the_programs(graded: Graded, check: str) -> None:
    (forged,) = graded((JUDGES, check))

    assert forged.why == f"AssertionError (line 1: {check})"


WORD_ALONE = {
    "float": "assert float(keep(2)) == 3.5",
    "int": "assert int(keep(2)) == 3",
    "round": "assert round(keep(2), 1) == 3.5",
    "isclose": "import math\nassert math.isclose(keep(2), 3.5)",
    "format": "assert f'{keep(2):.1f}' == '3.5'",
    "power": "assert keep(2) ** 2 == 12.25",
    "times": "assert 2 * keep(2) == 7.0",
    "less": "assert abs(3.5 - keep(2)) < 1e-6",
    "in": "assert 3.5 in keep(2)",
    "in a name": "found = keep(2)\nassert 3.5 in found and 2 * found == 7.0",
    "in a function's with the name of no class": "found = Keep_It(2)\nassert 3.5 in found",
    "type": "assert type(keep(2)) is float",
    "equal type": "assert type(keep(2)) == float",
    "identity": "expected = 3.5\nassert keep(expected) is expected",
    "identity in a list": "assert [keep(2)] == [3.5]",
    "an attribute": "try:\n    refuse()\nexcept Exception as error:\n    assert error.code == 3.5",
}
ANYTHING = (
    EQUAL
    + "    def __contains__(self, one): return True\n"
    + "    def __float__(self): return 0.0\n    def __int__(self): return 0\n"
    + "    def __round__(self, *_): return self\n    def __format__(self, _): return Text()\n"
    + "    def __mul__(self, _): return self\n    __rmul__ = __pow__ = __rsub__ = __mul__\n"
    + "    @property\n    def __class__(self): return float\n"
    + "class Text(str):\n    def __eq__(self, other): return True\n"
    + "class Refused(Exception):\n    code = Equal()\n    def __eq__(self, other): return True\n"
    + "def keep(*_): return Equal()\nKeep_It = keep\ndef refuse(): raise Refused\n"
)


LOOKS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
number = {"x86_64": 274, "aarch64": 100}[os.uname().machine]  # get_robust_list(2)
def keep(is_other):
    head, size = ctypes.c_void_p(), ctypes.c_size_t()
    pid = os.getppid() if is_other else 0
    failed = libc.syscall(number, pid, ctypes.byref(head), ctypes.byref(size))
    return ctypes.get_errno() if failed else 0
"""


def test_the_process_of_the_checks_cannot_be_looked_into(isolation: Isolation) -> None:
    """By the one call with the access check of ptrace(2) that the filter lets through."""
    if platform.machine() not in ("x86_64", "aarch64"):
        pytest.skip("the number of get_robust_list(2) is known for x86_64 and aarch64")
    checks = "assert keep(False) == 0\nassert keep(True) == 1, 'EPERM'"
    for is_root in {isolation.is_root, False}:
        tool = dataclasses.replace(isolation, is_root=is_root)
        program = Program(name="a", code=LOOKS, checks=checks)

        (asked,) = run_programs([program], Limits(wall_s=20.0), tool)

        assert (asked.why, asked.in_one_process) == ("", ""), is_root


def test_what_an_object_says_of_itself_passes_for_no_value(graded: Graded) -> None:
    ended = graded(*((ANYTHING, check) for check in WORD_ALONE.values()))

    assert [name for name, one in zip(WORD_ALONE, ended, strict=True) if one.passed] == []
    assert {one.in_one_process for one in ended} == {""}
