"""The programs that confine: the command line that shows a process its view and nothing else."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal

from qgate.confinement.view import PROC, kernel_settings

if TYPE_CHECKING:
    from qgate.confinement.view import Place, View

Name = Literal["bwrap", "unshare"]
NAMES: tuple[Name, ...] = ("bwrap", "unshare")
_CAPABILITIES = {2: "CAP_DAC_READ_SEARCH", 6: "CAP_SETGID", 7: "CAP_SETUID"}
"""By their numbers, those that a view may keep."""
_NOBODY = "65534"
_FIRST_TO_GO = 'echo "$1" 2>/dev/null >/proc/self/oom_score_adj; ulimit -c 0; shift; exec "$@"'
"""Both are handed on to whatever is started."""
_BIND = {"read-only": "--ro-bind", "writable": "--bind", "device": "--dev-bind"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A program that confines, and where it is."""

    name: Name
    path: str

    def command(self, view: View, filter_file: int) -> list[str]:
        """What stands before the command that is confined; ends by the code of that command.

        A command that a signal ended gives 128 and the signal's number, as in a shell.

        Args:
            view: what the command gets.
            filter_file: a descriptor, inherited, from which the filter of system calls is read.
        """
        make = _bwrap if self.name == "bwrap" else _unshare
        wrapped = ["/bin/sh", "-c", _FIRST_TO_GO, "sh", str(view.goes_first)]
        return [*wrapped, *make(self.path, view, filter_file)]


def filter_file(refused: bytes) -> IO[bytes]:
    """A file in memory with a filter of system calls, to be inherited and then closed."""
    file = os.fdopen(os.memfd_create("filter"), "w+b", buffering=0)
    file.write(refused)
    file.seek(0)
    return file


def interpreter() -> str:
    """The interpreter itself, not the virtual environment's name for it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _bwrap(path: str, view: View, filter_file: int) -> list[str]:
    command = [path, "--die-with-parent", "--unshare-pid", "--unshare-ipc", "--unshare-uts"]
    command += ["--hostname", view.host, "--unshare-cgroup-try"]
    command += [] if view.has_network else ["--unshare-net"]
    command += ["--cap-drop", "ALL"]
    for number in view.capabilities:
        command += ["--cap-add", _CAPABILITIES[number]]
    if not view.is_root:
        command += ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    made, bound = {"/"}, set[str]()
    for place in view.places():
        above = [str(parent) for parent in reversed(Path(place.path).parents)]
        for parent in () if bound & set(above) else above:
            if parent not in made:
                command += ["--perms", "0755", "--dir", parent]  # else root's are for root alone
        command += _shown(place)
        made |= {*above, place.path}
        bound |= {place.path} if place.kind in _BIND else set()
    command += ["--seccomp", str(filter_file)]
    return [*command, "--remount-ro", "/", "--chdir", view.directory, "--"]


def _shown(place: Place) -> list[str]:
    if place.kind == "link":
        return ["--symlink", place.target, place.path]
    if place.kind == "memory":
        size = [] if place.size_bytes is None else ["--size", str(place.size_bytes)]
        return ["--perms", "1777", *size, "--tmpfs", place.path]
    if place.kind == "proc":
        covered = [part for path in kernel_settings() for part in ("--ro-bind", path, path)]
        return ["--proc", PROC, *covered]
    return [_BIND[place.kind], place.path, place.path]


def _unshare(path: str, view: View, filter_file: int) -> list[str]:
    told = {
        "places": [[one.kind, one.path, one.target, one.size_bytes] for one in view.places()],
        "settings": kernel_settings() if view.has_proc else [],
        "directory": view.directory,
        "capabilities": view.capabilities,
        "host": view.host,
        "has_network": view.has_network,
        "longest_s": view.longest_s,
        "filter_file": filter_file,
    }
    command = [str(Path(path).with_name("setpriv")), "--pdeathsig", "KILL"]
    command += [path, "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    command += [] if view.has_network else ["--net"]
    command += [] if view.is_root else ["--user", "--map-root-user"]
    source = Path(__file__).with_name("filesystem.py").read_text(encoding="utf-8")
    python = [interpreter(), "-I", "-S", "-B", "-c", source]
    return [*command, "--", *python, json.dumps(told)]
