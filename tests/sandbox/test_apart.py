"""Checks in a process apart: what a program may be and pass, and what does not pass any more.

The shapes of the checks are those of HumanEval (`check(candidate)`) and of MBPP (bare asserts).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qgate.sandbox import Isolation, Limits, Outcome, Program, run_programs

Graded = Callable[..., list[Outcome]]

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


@pytest.fixture
def graded(isolation: Isolation) -> Graded:
    """graded(*(code, checks), ...) -> how each ended."""

    def run(*programs: tuple[str, str]) -> list[Outcome]:
        named = [
            Program(name=str(number), code=code, checks=checks)
            for number, (code, checks) in enumerate(programs)
        ]
        return run_programs(named, Limits(wall_s=20.0), isolation)

    return run


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


NEEDED = "def give(x): return x\n"
SOUNDLY = {
    "values of every kind": (
        NEEDED,
        "for one in (None, True, 1, 2**80, -0.5, float('inf'), 1j, 'ä\\ud800', b'\\0', [1, [2]],"
        " (1,), {1: (2,)}, {1, 2}, frozenset({3}), range(3), bytearray(b'a')):\n"
        "    assert give(one) == one and type(give(one)) is type(one)\n"
        "assert str(give(float('nan'))) == 'nan'\n",
    ),
    "values of the standard library": (
        "import collections, fractions, decimal, datetime\n"
        "def count(x): return collections.Counter(x)\n"
        "def table():\n    d = collections.defaultdict(list)\n    d[1].append(2)\n    return d\n"
        "def half(): return fractions.Fraction(1, 2)\n"
        "def day(): return datetime.date(2024, 2, 29)\n"
        "def pile(): return collections.deque([1, 2], maxlen=2)\n",
        "assert count('aab') == {'a': 2, 'b': 1}\nassert table() == {1: [2]}\n"
        "assert half() + half() == 1\nassert str(day()) == '2024-02-29'\n"
        "assert list(pile()) == [1, 2]\n",
    ),
    "numbers of an enumeration": (
        "import enum\nclass Colour(enum.IntEnum):\n    RED = 3\ndef red(): return Colour.RED\n",
        "assert red() == 3",
    ),
    "several functions": (
        "def encode(s): return s[::-1]\ndef decode(s): return s[::-1]\n",
        "from random import Random\nrng = Random(4)\n"
        "def check(candidate):\n    for _ in range(20):\n"
        "        s = ''.join(rng.choice('abc') for _ in range(9))\n"
        "        assert candidate(encode(s)) == s\ncheck(decode)\n",
    ),
    "an argument that is changed": (
        "def tidy(rows, seen):\n    rows.sort()\n    rows[0].append(0)\n    seen.add(1)\n",
        "rows, seen = [[2], [1]], {0}\nfirst = rows\ntidy(rows, seen)\n"
        "assert first == [[1, 0], [2]] and seen == {0, 1}\n",
    ),
    "a generator and a map": (
        "def up(n):\n    while True:\n        yield n\n        n += 1\n"
        "def twice(x): return map(lambda one: 2 * one, x)\n",
        "ups = up(3)\nassert next(ups) == 3 and next(ups) == 4\n"
        "assert list(twice([1, 2])) == [2, 4]\n",
    ),
    "classes": (
        "class Node:\n    def __init__(self, value): self.value, self.left = value, None\n"
        "    def __eq__(self, other): return self.value == other.value\n"
        "    def deeper(self, by=1): return self.value + by\n"
        "def height(node): return 0 if node is None else 1 + height(node.left)\n",
        "root = Node(1)\nroot.left = Node(2)\nassert height(root) == 2\nassert Node(1) == root\n"
        "assert root.deeper(by=3) == 4 and isinstance(root, Node) and root.left.value == 2\n",
    ),
    "a list of one's own": (
        "class Stack(list):\n    def push(self, x): self.append(x); return self\n"
        "import collections\nPoint = collections.namedtuple('Point', 'x y')\n"
        "def point(): return Point(1, 2)\n",
        "stack = Stack()\nstack.push(1).push(2)\nassert stack == [1, 2] and len(stack) == 2\n"
        "assert point() == (1, 2) and point().y == 2 and point() in {(1, 2)}\n",
    ),
    "exceptions": (
        "class Refused(ValueError): pass\n"
        "def refuse(x):\n    if x: raise Refused('no', x)\n    return {}[x]\n",
        "try:\n    refuse(3)\n    assert False\nexcept Refused as error:\n"
        "    assert error.args == ('no', 3)\n"
        "try:\n    refuse(4)\n    assert False\nexcept ValueError:\n    pass\n"
        "try:\n    refuse(0)\n    assert False\nexcept KeyError as error:\n"
        "    assert str(error) == '0'\n",
    ),
    "an import of the checks that the program forgot": (
        "def root(x): return math.sqrt(x)\n",
        "import math\nassert math.isclose(root(2), 1.41421, rel_tol=1e-3)\n",
    ),
    "an import of the program that the checks forgot": (
        "import math\nfrom math import isclose\ndef root(x): return math.sqrt(x)\n",
        "assert math.isclose(root(4), 2)\nassert isclose(root(9), 3)\n",
    ),
    "a name of Python's own": ("def sum(a, b): return a + b\n", "assert sum(10, 15) == 25\n"),
    "times": (
        "import datetime\n"
        "utc = datetime.timezone.utc\n"
        "def moment(): return datetime.datetime(2024, 2, 29, 23, 59, 58, 7)\n"
        "def late(): return datetime.time(23, 59, tzinfo=utc)\n"
        "def odd():\n    class Zone(datetime.tzinfo): pass\n"
        "    return datetime.datetime(2024, 1, 1, tzinfo=Zone())\n"
        "def abroad(moment): return moment.replace(tzinfo=datetime.timezone("
        "datetime.timedelta(hours=2), 'there'))\n",
        "import datetime\nutc = datetime.timezone.utc\n"
        "assert moment() == datetime.datetime(2024, 2, 29, 23, 59, 58, 7)\n"
        "assert late() == datetime.time(23, 59, tzinfo=utc) and late().tzinfo is utc\n"
        "there = abroad(datetime.datetime(2024, 1, 1, 2))\n"
        "assert there == datetime.datetime(2024, 1, 1, tzinfo=utc) and there.tzname() == 'there'\n"
        "assert odd().year == 2024\n",
    ),
    "objects that are the same": (
        "class Only:\n    made = None\n"
        "    def __new__(cls):\n        cls.made = cls.made or object.__new__(cls)\n"
        "        return cls.made\n"
        "def make(): return Only()\ndef other(): return object()\n",
        "assert make() is make() and make() is Only.made and other() is not other()\n"
        "assert type(make()) == Only and type(make()) is Only and type(3) is int\n",
    ),
    "objects as numbers and texts": (
        "class Half:\n    def __float__(self): return 0.5\n    def __int__(self): return 0\n"
        "    def __round__(self, digits=0): return 0.5 if digits else 1\n"
        "    def __format__(self, how): return how + '!'\n"
        "def half(): return Half()\n",
        "import math\nassert float(half()) == 0.5 and int(half()) == 0 and round(half()) == 1\n"
        "assert round(half(), 1) == 0.5 and f'{half():x}' == 'x!' and math.isclose(half(), 0.5)\n",
    ),
    "attributes of exceptions": (
        "class Refused(Exception):\n"
        "    def __init__(self, code):\n        super().__init__('no')\n"
        "        self.code, self.more = code, [code]\n"
        "    def double(self): return 2 * self.code\n"
        "def refuse(x): raise Refused(x)\n",
        "try:\n    refuse(3)\n    assert False\nexcept Refused as error:\n"
        "    assert error.code == 3 and error.more == [3] and error.double() == 6\n"
        "    assert error.args == ('no',) and not hasattr(error, 'less')\n",
    ),
    "a large answer": (
        "def many(n): return list(range(n))\n",
        "assert many(200000)[-1] == 199999\n",
    ),
    "a global value": (
        "state = []\ndef add(x): state.append(x)\n",
        "add(1)\nassert state == [1]\n",
    ),
}


def test_sound_programs_pass_apart(graded: Graded) -> None:
    ended = dict(zip(SOUNDLY, graded(*SOUNDLY.values()), strict=True))

    assert {name: one.why for name, one in ended.items() if not one.passed} == {}
    assert {name: one.in_one_process for name, one in ended.items() if one.in_one_process} == {}


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


def test_what_an_object_says_of_itself_passes_for_no_value(graded: Graded) -> None:
    ended = graded(*((ANYTHING, check) for check in WORD_ALONE.values()))

    assert [name for name, one in zip(WORD_ALONE, ended, strict=True) if one.passed] == []
    assert {one.in_one_process for one in ended} == {""}


DO = "def do(f, *given): return f(*given)\n"
TOGETHER = {
    "a function as an argument": (DO, "assert do(lambda x: x + 1, 2) == 3"),
    "a type as an argument": (DO, "assert do(int, '3') == 3"),
    "define the class Case": (DO, "class Case: pass\nassert do(repr, 1) == '1'"),
    "import io": ("def do(): print(1)", "import io, contextlib\nassert do() is None"),
    "import unittest.mock": (DO, "from unittest.mock import Mock\nassert do(Mock(), 1)"),
    "use seed": (
        "import random\ndef do(): return random.random()",
        "import random\nrandom.seed(1)\nfirst = do()\nrandom.seed(1)\nassert do() == first",
    ),
    "use globals": (DO, "assert 'do' in globals()"),
    "use with": (
        "class Door:\n    def __enter__(self): return 3\n    def __exit__(self, *_): return True\n",
        "with Door() as number:\n    assert number == 3\n    raise ValueError\n",
    ),
    "look into an object by in": (
        "class Trie:\n    def __contains__(self, word): return word == 'a'\n",
        "trie = Trie()\nassert 'a' in trie and 'b' not in trie\n",
    ),
    "reckon with an object and a number": (
        "class Vector:\n    def __init__(self, x): self.x = x\n"
        "    def __rmul__(self, by): return Vector(self.x * by)\n"
        "    def __pow__(self, by): return self.x ** by\n",
        "vector = Vector(3)\nassert (2 * vector).x == 6 and vector ** 2 == 9\n",
    ),
    "use sys": (
        "import sys\ndef do(): return sys.getrecursionlimit()",
        "sys.setrecursionlimit(4321)\nassert do() == 4321",
    ),
    "name nothing but max, sorted": (
        "def sorted(x): return 1\ndef max(x): return 2\n",
        "assert sorted([]) == 1 and max([]) == 2",
    ),
    "no text of their own: IndentationError": (
        "def do(x):\n    return x",
        "    return 2 * x\nassert do(1) == 1",
    ),
}


def test_checks_that_need_more_run_with_the_program_and_are_marked(graded: Graded) -> None:
    ended = graded(*TOGETHER.values())

    assert [one.why for one in ended] == [""] * len(TOGETHER)
    assert [one.in_one_process for one in ended] == list(TOGETHER)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("def f(): return 2", "AssertionError (line 2: assert f() == 1)"),
        (
            "def f():\n    return [][3]",
            "IndexError: list index out of range (line 2: return [][3])",
        ),
        ("def f(:\n", "SyntaxError: invalid syntax (line 1)"),
        ("def g(): return 1", "NameError: name 'f' is not defined (line 2: assert f() == 1)"),
        ("f = 1", "TypeError: 'int' object is not callable (line 2: assert f() == 1)"),
        ("import os\ndef f(): os._exit(0)", "left before its end: exit code 0"),
        ("import ctypes\ndef f(): ctypes.string_at(0)", "left before its end: exit code 139"),
        ("import atexit, os\natexit.register(os._exit, 3)\ndef f(): return 1", "left after its"),
        ("import sys\nsys.exit(0)", "left before its end: sys.exit(0)"),
        ("def f():\n    while True: pass", "stopped after 2 s"),
    ],
)
def test_what_stopped_a_program_is_said(isolation: Isolation, code: str, why: str) -> None:
    program = Program(name="a", code=code, checks="x = 1\nassert f() == 1")
    (outcome,) = run_programs([program], Limits(wall_s=2.0), isolation)

    assert not outcome.passed
    assert outcome.why.startswith(why)


def test_checks_that_catch_everything_do_not_hide_that_a_program_has_left(graded: Graded) -> None:
    checks = "try:\n    f(1)\nexcept BaseException:\n    pass\n"
    left, raised = graded(
        ("import os\ndef f(x): os._exit(0)", checks), ("def f(x): raise ValueError", checks)
    )

    assert left.why == "left before its end: exit code 0"
    assert raised.passed
