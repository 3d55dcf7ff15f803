"""From what a model wrote to a program that can be held against an item's tests.

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

    from qgate.sandbox import Isolation, Outcome, Program

_FENCED = re.compile(r"```(?:python|py|Python)?[ \t]*\r?\n(.*?)(?:```|\Z)", re.DOTALL)
_ENDS = re.compile(r"\n(?:class|def|#|if|print)")


def program(prompt: str, text: str) -> str:
    """The program that an answer makes.

    Args:
        prompt: what was asked, code itself where it is to be completed.
        text: what was generated.
    """
    fenced = _FENCED.search(text)
    code = fenced[1] if fenced else prompt + _ENDS.split(text, maxsplit=1)[0]
    return f"{code}\n"


def make_runner() -> Callable[[Sequence[Program]], list[Outcome]]:
    """Something that runs programs in a sandbox.

    It raises a MeasurementError where this machine cannot isolate a program. How it can is found
    once, when the first is run: lm-eval asks for one program at a time, and looking takes longer.
    """
    from qgate.sandbox import find_isolation

    find = functools.cache(find_isolation)
    return lambda programs: run_all(programs, find)


def run_all(
    programs: Sequence[Program], find: Callable[[], Isolation] | None = None
) -> list[Outcome]:
    """How each program ended.

    Raises:
        MeasurementError: this machine cannot isolate a program.
    """
    from qgate.sandbox import Limits, find_isolation, run_programs

    return run_programs(programs, Limits(), (find or find_isolation)())
