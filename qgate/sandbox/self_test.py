"""Does isolation hold on this machine? Tried with a program that does its best to break it."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import shutil
import socket
import sys
from typing import TYPE_CHECKING

from qgate import confinement
from qgate.confinement.seccomp import MACHINES
from qgate.errors import MeasurementError
from qgate.sandbox.isolation import ENVIRONMENT, Isolation, names_at_the_top, unused_users
from qgate.sandbox.programs import Limits, Program
from qgate.sandbox.runs import run_programs
from qgate.untrusted.work_folder import no_room, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_NEEDS = (
    "expected bubblewrap or util-linux's unshare, and a kernel that grants namespaces. Install"
    " bubblewrap (apt-get install bubblewrap); allow user namespaces (on Ubuntu: sysctl"
    " kernel.apparmor_restrict_unprivileged_userns=0; in a container: as a user who is not root,"
    " under docker run --security-opt seccomp=unconfined), or be root with CAP_SYS_ADMIN"
)
_LIMITS = Limits(wall_s=20.0, memory_bytes=256 << 20, file_bytes=1 << 16, processes=8)
_SECRET = "not for programs"  # noqa: S105 - a text to look for
_ATTEMPTS = """
import os, signal, socket

def reaches(attempt):
    try:
        attempt()
    except (OSError, MemoryError):
        return False
    return True

def writes(place):
    path = os.path.join(place, "qgate-was-here")
    return reaches(lambda: open(path, "w").close())

def reads(path):
    return reaches(lambda: open(path).read())

names = set(os.environ) - set(NAMES) - {"PWD", "LC_CTYPE"}
assert not names, f"sees the environment: {names}"
others = set(os.listdir("/")) - set(TOP)
assert not others, f"sees {others}"
for path in FILES:
    assert not reads(path), f"reads {path}"
for place in PLACES:
    assert not writes(place), f"writes to {place}"
assert writes("."), "cannot write to its own directory"
assert not reaches(lambda: os.write(os.open("big", os.O_WRONLY | os.O_CREAT), bytes(FILE + 1))
    == FILE + 1 or os.read(-1, 1)), "writes files of any size"
assert not reaches(lambda: socket.create_connection(("127.0.0.1", PORT), 5)), "reaches the network"
assert not reaches(lambda: socket.socket(40, socket.SOCK_STREAM)), "reaches the machine's host"
assert not reaches(lambda: bytearray(MEMORY)), "takes any amount of memory"
assert os.getpid() < 100, "sees the machine's processes"

children = []
try:
    while len(children) <= PROCESSES:
        child = os.fork()
        if not child:
            signal.pause()
        children.append(child)
except OSError:
    pass
for child in children:
    os.kill(child, signal.SIGKILL)
assert len(children) <= PROCESSES, "starts any number of processes"
"""


def find_isolation(tools: Sequence[confinement.Name] = confinement.NAMES) -> Isolation:
    """The first means that holds on this machine, tried out in about 0.2 s.

    Raises:
        MeasurementError: none does, or there is no room to try; names what is missing and how to
            get it.
    """
    machine = platform.machine()
    if sys.platform != "linux" or machine not in MACHINES:
        raise MeasurementError(
            f"code_execution: no sandbox for generated programs: got {sys.platform} on {machine};"
            f" expected Linux on {' or '.join(MACHINES)}. Run these tasks on such a machine"
        )
    failures: list[str] = []
    for tool, is_root in itertools.product(tools, _ways()):
        with _secret_place() as place:
            try:
                return _tried(tool, place, is_root=is_root)
            except MeasurementError as error:
                why = f"{tool}: {str(error).removeprefix('code_execution: ')}"
                failures += [] if why in failures else [why]
    raise MeasurementError(
        f"code_execution: no sandbox for generated programs: got {'; '.join(failures)}; {_NEEDS}"
    )


def _ways() -> tuple[bool, ...]:
    """Whether to use root's power; what is called root in a container may have none."""
    return (True, False) if os.geteuid() == 0 and unused_users() else (False,)


def _tried(tool: confinement.Name, place: Path, *, is_root: bool) -> Isolation:
    path = shutil.which(tool)
    if path is None:
        raise MeasurementError("not installed")
    isolation = Isolation(tool=confinement.Tool(name=tool, path=path), is_root=is_root)
    with _bait(place) as attempts:
        programs = [
            Program(name="the attempts", code=attempts),
            Program(name="a failure", code="assert False"),
        ]
        tried, failed = run_programs(programs, _LIMITS, isolation)
        left = sorted(path.name for path in place.iterdir())
    if not tried.passed:
        raise MeasurementError(f"does not hold: {tried.why}")
    if failed.passed or left != ["secret"]:
        raise MeasurementError(f"does not hold: failures pass, or files are left: {left}")
    return isolation


@contextlib.contextmanager
def _secret_place() -> Iterator[Path]:
    """A directory that no program should find, with a file in it."""
    with temporary_folder("qgate-probe-", "code_execution") as place:
        try:
            (place / "secret").write_text(_SECRET)
        except OSError as error:
            raise no_room("code_execution", error) from error
        yield place


@contextlib.contextmanager
def _bait(place: Path) -> Iterator[str]:
    """A program that tries to get out, and to reach what lies there."""
    with _listener() as port:
        name, secret = str(place), place / "secret"
        facts = {
            "NAMES": sorted(ENVIRONMENT),
            "TOP": sorted(names_at_the_top()),
            "FILES": [str(secret), "/etc/passwd", "/proc/1/environ", "/proc/self/environ"],
            "PLACES": ["/", "/usr/lib", "/usr/bin", "/dev", "/etc", name, sys.base_prefix + "/lib"],
            "PORT": port,
            "FILE": _LIMITS.file_bytes,
            "MEMORY": _LIMITS.memory_bytes,
            "PROCESSES": _LIMITS.processes,
        }
        lines = [f"{key} = {value!r}" for key, value in facts.items()]
        yield "\n".join([*lines, _ATTEMPTS])


@contextlib.contextmanager
def _listener() -> Iterator[int]:
    """A port that answers whoever gets to it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])
