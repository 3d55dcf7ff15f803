"""One sandbox from outside: started with its job, listened to, killed at its deadline."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import marshal
import os
import platform
import secrets
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.confinement.seccomp import filter_for
from qgate.confinement.tools import filter_file
from qgate.errors import MeasurementError
from qgate.sandbox.isolation import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from qgate.sandbox.isolation import Isolation
    from qgate.sandbox.one_process import Apart
    from qgate.sandbox.programs import Limits, Program

_LOOK_S = 0.2
_GONE_S = 10.0
"""How long a killed sandbox may take to vanish."""
_MOST_SAID = 8192
"""Bytes of a verdict; a program that says more is not the runner."""
_CHUNK = 65536
_OPEN_FILES = 64
_SHARED = ("plain_data", "program_side", "checks_side")
"""In the order in which they import each other."""
NEEDS = b"needs one process: "
"""What the checks' process says where they do, see `qgate.sandbox.inside`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a sandbox left behind; all its processes are gone."""

    verdict: bytes
    """What was said on the verdict pipe, see `qgate.sandbox.inside`."""
    token: bytes
    """What the runner says there, backwards, where the program reached its end."""
    output: bytes
    code: int
    """As in a shell: 128 and the number of the signal that ended it."""
    stopped: str
    """Why it was killed, where it was."""
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ear:
    """A pipe out of the sandbox, and what came through it so far."""

    stream: FileIO
    most_bytes: int
    heard: bytearray = field(default_factory=bytearray)

    @property
    def is_full(self) -> bool:
        return len(self.heard) > self.most_bytes


def run(
    program: Program,
    apart: Apart | None,
    limits: Limits,
    isolation: Isolation,
    is_over: Callable[[], bool],
) -> Ended:
    """Run one program in a sandbox of its own, until everything in there has gone.

    Args:
        program: what is run.
        apart: how its checks are run in a process of their own; None: in the program's.
        limits: what it may use.
        isolation: how it is kept apart.
        is_over: asked now and then; a true answer kills the sandbox.

    Raises:
        MeasurementError: the sandbox could not be started, or did not go away.
    """
    begun = time.monotonic()
    token = secrets.token_hex(32).encode()
    with contextlib.ExitStack() as stack:
        verdict, output = _pipe(stack), _pipe(stack)
        child = _start(program, apart, limits, isolation, token, (output.into, verdict.into))
        output.into.close()
        verdict.into.close()
        stack.callback(_end, child)
        ears = (
            _Ear(stream=output.out, most_bytes=limits.output_bytes),
            _Ear(stream=verdict.out, most_bytes=_MOST_SAID),
        )
        stopped = _listen(ears, child, begun + limits.wall_s, limits, is_over)
        code = child.wait()
    return Ended(
        verdict=bytes(ears[1].heard),
        token=token,
        output=bytes(ears[0].heard[: limits.output_bytes]),
        code=code if code >= 0 else 128 - code,
        stopped=stopped,
        wall_s=time.monotonic() - begun,
    )


@dataclass(frozen=True, slots=True)
class _Pipe:
    out: FileIO
    into: FileIO


def _pipe(stack: contextlib.ExitStack) -> _Pipe:
    out, into = os.pipe()
    return _Pipe(
        stack.enter_context(os.fdopen(out, "rb", buffering=0)),
        stack.enter_context(os.fdopen(into, "wb", buffering=0)),
    )


def _start(
    program: Program,
    apart: Apart | None,
    limits: Limits,
    isolation: Isolation,
    token: bytes,
    theirs: tuple[FileIO, FileIO],
) -> subprocess.Popen[bytes]:
    """Start a sandbox that prints to the first of `theirs` and gives its verdict to the second."""
    output, verdict = theirs
    with contextlib.ExitStack() as stack:
        word = _pipe(stack)
        word.into.write(token)
        checks = None if apart is None else {"code": program.checks, **dataclasses.asdict(apart)}
        checks_file, user = _file(stack, checks), isolation.user()
        refused = stack.enter_context(filter_file(filter_for(platform.machine()))).fileno()
        job_file = _file(
            stack,
            {
                "code": program.whole if apart is None else program.code,
                "token_file": word.out.fileno(),
                "verdict_file": verdict.fileno(),
                "checks_file": None if apart is None else checks_file,
                "modules": {} if apart is None else _modules(),
                "user": user,
                "is_open_to_others": apart is not None and (user is None or _stays_open()),
                "limits": _resources(limits, processes=1 if apart is None else 2),
            },
        )
        try:
            return subprocess.Popen(
                isolation.command(limits, job_file, refused),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=dict(ENVIRONMENT),
                pass_fds=(job_file, refused, checks_file, word.out.fileno(), verdict.fileno()),
                start_new_session=True,
            )
        except OSError as error:
            raise MeasurementError(f"code_execution: cannot start a sandbox: {error}") from error


def _file(stack: contextlib.ExitStack, content: object) -> int:
    """A file in memory that a sandbox inherits."""
    file = stack.enter_context(os.fdopen(os.memfd_create("job"), "r+b"))
    file.write(json.dumps(content).encode())
    file.seek(0)
    return file.fileno()


def _stays_open() -> bool:
    """Whether a process stays open to others of its user once it has changed that user.

    By default it does not: suid_dumpable of proc_sys_fs(5) is 0 (closed to all) or 2 (open to root
    alone). Where that cannot be read, it is closed by hand.
    """
    try:
        return Path("/proc/sys/fs/suid_dumpable").read_text().strip() not in ("0", "2")
    except OSError:
        return True


@functools.cache
def _modules() -> dict[str, str]:
    """What program and checks speak by, compiled once for all sandboxes."""
    folder = Path(__file__).parent
    found = {}
    for name in _SHARED:
        code = compile((folder / f"{name}.py").read_bytes(), f"<{name}>", "exec")
        found[f"qgate.sandbox.{name}"] = marshal.dumps(code).hex()
    return found


def _resources(limits: Limits, *, processes: int) -> dict[str, int]:
    """Of each process; `processes` of the sandbox's own are there before a program starts any."""
    return {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_CPU": limits.cpu_s,
        "RLIMIT_FSIZE": limits.file_bytes,
        "RLIMIT_NPROC": limits.processes + processes - 1,
        "RLIMIT_NOFILE": _OPEN_FILES,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
    }


def _listen(
    ears: tuple[_Ear, _Ear],
    child: subprocess.Popen[bytes],
    deadline: float,
    limits: Limits,
    is_over: Callable[[], bool],
) -> str:
    """Read until nobody is left who could write, which is when all processes have gone.

    Returns:
        Why the sandbox was killed, where it was.
    """
    stopped = ""
    with selectors.DefaultSelector() as selector:
        for ear in ears:
            selector.register(ear.stream, selectors.EVENT_READ, ear)
        while selector.get_map():
            left_s = deadline - time.monotonic()
            for key, _ in selector.select(max(min(left_s, _LOOK_S), 0.0)):
                if not _hear(key.data):
                    selector.unregister(key.fileobj)
            if stopped and left_s < 0:
                raise MeasurementError(
                    f"code_execution: sandbox still there {_GONE_S:g} s after it was killed"
                )
            if not stopped and (stopped := _reason(ears, left_s, limits, is_over)):
                _kill(child)
                deadline = time.monotonic() + _GONE_S
    return stopped


def _hear(ear: _Ear) -> bool:
    """Read what is there; whether more can come."""
    said = ear.stream.read(_CHUNK)
    if not ear.is_full:
        ear.heard.extend(said or b"")
    return bool(said)


def _reason(
    ears: tuple[_Ear, _Ear], left_s: float, limits: Limits, is_over: Callable[[], bool]
) -> str:
    if left_s <= 0:
        return f"stopped after {limits.wall_s:g} s"
    if ears[0].is_full:
        return f"stopped: printed more than {limits.output_bytes} bytes"
    if ears[1].is_full:
        return "stopped: wrote to a file that is not its own"
    return "interrupted" if is_over() else ""


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Kill the tool; the kernel then kills the namespace's first process, and that all others."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _end(child: subprocess.Popen[bytes]) -> None:
    _kill(child)
    child.wait()
