"""Runs inside the sandbox: gives up what is left of power, then runs one program.

This file is handed to the interpreter as text, since the package is out of reach in there; it may
import the standard library only. What it says on the verdict pipe, in this order: `began`, then the
token where the program's last line was reached, else one line on what stopped it. The token is said
backwards: copying whatever can be read to wherever one can write is no pass.
"""

from __future__ import annotations

import ctypes
import json
import linecache
import os
import resource
import sys
import types
from typing import Any

_NAME = "<program>"
_MODULE = "program"
"""Not `__main__`: what a program does only as a script it does not under its tests, as under
`exec` of Hugging Face's code_eval."""
_LONGEST = 300
"""Characters of what a program's exception says."""
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
"""PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER of prctl(2)."""


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_char_p))


def main(job_file: int) -> None:
    with open(job_file, encoding="utf-8") as stream:
        job = json.load(stream)
    token_file, verdict_file = job["token_file"], job["verdict_file"]
    for number in (token_file, verdict_file):
        os.set_inheritable(number, False)
    _become(job["user"])
    _limit(job["limits"])
    _refuse(bytes.fromhex(job["filter"]))
    os.write(verdict_file, b"began\n")
    own = os.getpid()
    failure = _run(job["code"])
    if os.getpid() != own:
        os._exit(0)  # a fork of the program; it is the reference that is asked
    if not failure:
        os.write(verdict_file, os.read(token_file, 4096)[::-1])
        return
    os.write(verdict_file, failure.encode(errors="backslashreplace"))
    os._exit(1)


def _become(user: int | None) -> None:
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def _limit(limits: dict[str, int]) -> None:
    for name, most in limits.items():
        kind = getattr(resource, name)
        _, hard = resource.getrlimit(kind)
        bound = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # a second more to die of SIGXCPU, which says what it is, before SIGKILL comes
        last = bound + 1 if name == "RLIMIT_CPU" and hard == resource.RLIM_INFINITY else bound
        resource.setrlimit(kind, (bound, last))


def _refuse(code: bytes) -> None:
    """Install the filter of system calls; nothing that is started later gets rid of it."""
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Filter(len(code) // 8, code)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(
        _SECCOMP, _FILTER, ctypes.byref(program), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "prctl")


def _run(source: str) -> str:
    """Run a program; an empty text where it reached its end, else what stopped it."""
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = sys.modules["__main__"] = module
    sys.argv = [_NAME]
    linecache.cache[_NAME] = (len(source), None, source.splitlines(keepends=True), _NAME)
    try:
        exec(compile(source, _NAME, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    except SystemExit as left:
        return f"left before its end: sys.exit({left.code!r})"[:_LONGEST]
    except BaseException as error:  # noqa: BLE001 - whatever a program raises is its failure
        return _described(error, source)
    return ""


def _described(error: BaseException, source: str) -> str:
    kind = type(error).__name__
    try:
        if isinstance(error, SyntaxError) and error.filename == _NAME:
            return f"{kind}: {error.msg} (line {error.lineno})"
        said = str(error)[:_LONGEST]
        return (f"{kind}: {said}" if said else kind) + _place(error, source)
    except BaseException:  # noqa: BLE001 - __str__ is the program's own
        return kind


def _place(error: BaseException, source: str) -> str:
    """` (line 3: assert add(1, 2) == 4)`, of the innermost line that is the program's own."""
    numbers = []
    step: Any = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == _NAME:
            numbers.append(step.tb_lineno)
        step = step.tb_next
    if not numbers:
        return ""
    lines = source.splitlines()
    text = lines[numbers[-1] - 1].strip() if numbers[-1] <= len(lines) else ""
    return f" (line {numbers[-1]}: {text[:_LONGEST]})"


if __name__ == "__main__":
    main(int(sys.argv[1]))
