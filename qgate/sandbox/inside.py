"""Runs inside the sandbox: gives up what is left of power, then runs one program and its checks.

Where checks run apart, the program gets a fork of this process. It is made before the checks are
read, and closes what the verdict goes through before the program's first line: the expected answers
never were in the program's memory, and it has nothing to write a verdict to. Both are the same
user, who has no /proc in here, and whose system calls into another process are refused.

This file is handed to the interpreter as text, since the package is out of reach in there; it may
import the standard library only. What it says on the verdict pipe, in this order: `began`, then the
token where the last line was reached, else one line on what stopped it. The token is said
backwards: copying whatever can be read to wherever one can write is no pass.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # which typeshed does not have
import atexit
import json
import linecache
import marshal
import os
import resource
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_NAME = "<program>"
_MODULE = "program"
"""Not `__main__`: what a program does only as a script it does not under its tests, as under
`exec` of Hugging Face's code_eval."""
_LONGEST = 300
"""Characters of what a program's exception says."""
_DUMPABLE = 4
"""PR_SET_DUMPABLE of prctl(2)."""
NEEDS = "needs one process: "
"""Said in place of a verdict where checks cannot be run apart after all."""


def main(job_file: int) -> None:
    with open(job_file, encoding="utf-8") as stream:
        job = json.load(stream)
    token_file, verdict_file = job["token_file"], job["verdict_file"]
    for number in (token_file, verdict_file):
        os.set_inheritable(number, False)
    _become(job["user"])
    if job["is_open_to_others"]:
        _close_to_others()  # before `began`: what fails here is no program's fault
    _limit(job["limits"])
    os.write(verdict_file, b"began\n")
    if job["checks_file"] is None:
        _run_whole(job)
    else:
        _run_apart(job)


def _run_whole(job: dict[str, Any]) -> None:
    """Program and checks in this process."""
    own = os.getpid()
    failure = _run(job["code"], _module())
    if os.getpid() != own:
        os._exit(0)  # a fork of the program; it is the first that is asked
    _say(job, failure)


def _run_apart(job: dict[str, Any]) -> None:
    """The program in a fork of this process, which reads the checks after it has forked."""
    plain_data, program_side, checks_side = _modules(job["modules"])
    asks, answers = os.pipe(), os.pipe()
    program = os.fork()
    if not program:
        theirs = (job["token_file"], job["verdict_file"], job["checks_file"])
        for number in (*theirs, asks[1], answers[0]):
            os.close(number)
        channel = plain_data.Channel(asks[0], answers[1])
        _serve(job["code"], channel, program_side)
        return
    os.close(asks[0])
    os.close(answers[1])
    # a program's SIGINT ends this process and raises nothing in it; importing `signal`, which wraps
    # `_signal`, takes as long as all else that checks need
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    channel = plain_data.Channel(answers[0], asks[1])
    checks_file: int = job["checks_file"]
    with open(checks_file, encoding="utf-8") as stream:
        checks = json.load(stream)
    client = checks_side.Client(channel)
    failure = _check(checks, channel, client, checks_side)
    if client.needs:
        _say(job, NEEDS + client.needs)
    if failure and not client.is_broken:
        _say(job, failure)
    channel.close()
    _, status = os.waitpid(program, 0)
    code = os.waitstatus_to_exitcode(status)
    if client.is_broken:
        os._exit(code if code >= 0 else 128 - code)
    _say(job, "")
    _end(code if code >= 0 else 128 - code)


def _serve(source: str, channel: Any, program_side: Any) -> None:  # noqa: ANN401 - modules
    own = os.getpid()
    names = _module()
    failure = _run(source, names)
    if os.getpid() != own:
        os._exit(0)  # a fork of the program; it is the first that is asked
    channel.send(failure)
    if failure:
        os._exit(1)
    program_side.Program(names, channel, lambda error: _place(error, source)).serve()
    _end(0)


def _check(
    checks: dict[str, Any],
    channel: Any,  # noqa: ANN401 - of a module of this sandbox
    client: Any,  # noqa: ANN401 - the same
    checks_side: Any,  # noqa: ANN401 - the same
) -> str:
    """Run checks on the program that answers; what stopped them, or an empty text."""
    try:
        failure = str(channel.receive())
        if failure:
            return failure[: 2 * _LONGEST]
        for line in checks["imports"]:
            _try(client.ask, "import", line)  # else it raises in the checks, too
    except Exception as error:  # noqa: BLE001 - whatever is no answer
        client.is_broken = True
        return type(error).__name__
    names = checks_side.Names(client, checks)
    return _run(checks["code"], names) or ("broken" if client.is_broken else "")


def _say(job: dict[str, Any], failure: str) -> None:
    """The verdict; after a failure nothing else runs."""
    if not failure:
        os.write(job["verdict_file"], os.read(job["token_file"], 4096)[::-1])
        return
    os.write(job["verdict_file"], failure.encode(errors="backslashreplace"))
    os._exit(1)


def _end(code: int) -> None:
    """End as an interpreter does, but for taking itself apart, which takes longer than checks."""
    for last in (_join, atexit._run_exitfuncs, sys.stdout.flush, sys.stderr.flush):
        _try(last)
    os._exit(code)


def _try(last: Callable[..., object], *values: object) -> None:
    try:
        last(*values)
    except BaseException:  # noqa: BLE001 - as in an interpreter that ends: the code stays the same
        return


def _join() -> None:
    """Wait for the threads that an interpreter waits for."""
    if "threading" in sys.modules:
        sys.modules["threading"]._shutdown()


def _modules(codes: dict[str, str]) -> list[types.ModuleType]:
    """What both ends speak by; not left where a program would import it."""
    for name, code in codes.items():
        module = sys.modules[name] = types.ModuleType(name)
        exec(marshal.loads(bytes.fromhex(code)), module.__dict__)  # noqa: S102, S302 - qgate's own
    return [sys.modules.pop(name) for name in codes]


def _close_to_others() -> None:
    """No other process of the same user looks into this one, or into a fork of it.

    A process that has changed its user is closed already. ctypes takes 6 ms to import.
    """
    import ctypes

    ctypes.CDLL(None).prctl(_DUMPABLE, 0, 0, 0, 0)


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


def _module() -> dict[str, Any]:
    module = types.ModuleType(_MODULE)
    sys.modules[_MODULE] = sys.modules["__main__"] = module
    return module.__dict__


def _run(source: str, names: dict[str, Any]) -> str:
    """Run a text; an empty one where it reached its end, else what stopped it."""
    sys.argv = [_NAME]
    linecache.cache[_NAME] = (len(source), None, source.splitlines(keepends=True), _NAME)
    try:
        exec(compile(source, _NAME, "exec", dont_inherit=True), names)  # noqa: S102
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
        place = getattr(error, "_place", None) or _place(error, source)
        return (f"{kind}: {said}" if said else kind) + place
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
