"""From what a model wrote to a program that can be run with an item's tests.

A model that chats puts its code between fences, complete in itself: the first block that is fenced
is the program. One that completes goes on where the prompt ends, and after its function writes on:
the program is prompt and completion up to the first line that begins something else (the stop
sequences of HumanEval, Chen et al. 2021, arXiv:2107.03374; lm-evaluation-harness has the same).
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgate.sandbox import Isolation, Outcome

_FENCED = re.compile(r"```(?:python|py|Python)?[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_ENDS = re.compile(r"\n(?:class|def|#|if|print)")


def program(prompt: str, text: str, tests: str) -> str:
    """The program that passes where the generated code is right.

    Args:
        prompt: what was asked, code itself where it is to be completed.
        text: what was generated.
        tests: Python that raises where the code is wrong.
    """
    fenced = _FENCED.search(text)
    code = fenced[1] if fenced else prompt + _ENDS.split(text, maxsplit=1)[0]
    return f"{code}\n\n{tests}\n"


def make_runner() -> Callable[[Sequence[str]], list[bool]]:
    """Something that runs programs in a sandbox: whether each ended well.

    It raises a MeasurementError where this machine cannot isolate a program. How it can is found
    once, when the first is run: lm-eval asks for one program at a time, and looking takes longer.
    """
    from qgate.sandbox import find_isolation

    find = functools.cache(find_isolation)
    return lambda programs: [one.passed for one in run_all(programs, find)]


def run_all(programs: Sequence[str], find: Callable[[], Isolation] | None = None) -> list[Outcome]:
    """How each program ended.

    Raises:
        MeasurementError: this machine cannot isolate a program.
    """
    from qgate.sandbox import Limits, Program, find_isolation, run_programs

    named = [Program(name=f"program {n}", code=code) for n, code in enumerate(programs, 1)]
    return run_programs(named, Limits(), (find or find_isolation)())
