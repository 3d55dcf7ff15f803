"""Checks in a process apart: what a program may be and pass, and what is said of one that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.sandbox import Isolation, Limits, Program, run_programs

if TYPE_CHECKING:
    from tests.sandbox.conftest import Graded

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
