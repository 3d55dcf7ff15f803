"""What a sandboxed program sees, and the command that shows it nothing else.

bubblewrap where it is installed, else util-linux's `unshare`. A caller who is root makes the
namespaces by that power, and the program then becomes a user that nobody is: the limit of processes
does not bind root, nor a root that is root by name only. Anybody else gets a user namespace.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.sandbox.programs import Limits

DIRECTORY = "/tmp"  # noqa: S108 - the sandbox's own, not the machine's
"""Where a program works, the one place that it can write to."""
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "HOME": DIRECTORY,
        "LANG": "C.UTF-8",
        "LOGNAME": "nobody",
        "OMP_NUM_THREADS": "1",
        "PATH": "/usr/bin:/bin",
        "PYTHONHASHSEED": "0",  # the reference and its artifacts get sets in the same order
        "TMPDIR": DIRECTORY,
    }
)
_SYSTEM = (
    *("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store", "/etc/ld.so.cache"),
    *("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/share/zoneinfo"),
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_FILES = 16
_SETGID, _SETUID = 6, 7
"""CAP_SETGID, CAP_SETUID of capabilities(7)."""
_NOBODY = "65534"
_HOST = "sandbox"
_GRACE_S = 5
"""After its deadline a sandbox of unshare ends by itself, whatever became of its caller."""
_FIRST_TO_GO = 'echo 1000 2>/dev/null >/proc/self/oom_score_adj; exec "$@"'
_HIGHEST_USER = 2_000_000_000
_LOWEST_USER = 10_000
_SYSTEMS_OWN = 1000
"""Numbers at a range's end that stay unused: `nobody` is 65534."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """A means to run programs apart; made by `find_isolation`, which has tried it."""

    tool: Literal["bwrap", "unshare"]
    path: str
    """Of the tool."""
    is_root: bool
    """The caller is root and the program becomes somebody else."""

    def command(self, limits: Limits, job_file: int) -> list[str]:
        """The command line of one sandbox; `job_file` is inherited by it."""
        apart = _bwrap(self, limits) if self.tool == "bwrap" else _unshare(self, limits)
        python = [_interpreter(), "-s", "-S", "-P", "-B", "-c", _source("inside")]
        return ["/bin/sh", "-c", _FIRST_TO_GO, "sh", *apart, *python, str(job_file)]

    def user(self) -> int | None:
        """Who the program becomes: another one each time, so that no two share a limit."""
        return secrets.choice(unused_users()) if self.is_root else None


def unused_users() -> range:
    """Numbers of users that this machine or container has room for and most likely nobody uses."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = [(int(first), int(first) + int(n)) for first, _, n in map(str.split, lines)]
    first, end = max(ranges, key=lambda found: found[1] - found[0])
    return range(max(first, _LOWEST_USER), min(end - _SYSTEMS_OWN, _HIGHEST_USER))


def _bwrap(isolation: Isolation, limits: Limits) -> list[str]:
    links, read_only = shown()
    command = [isolation.path, "--die-with-parent", "--unshare-pid", "--unshare-net"]
    command += ["--unshare-ipc", "--unshare-uts", "--hostname", _HOST, "--unshare-cgroup-try"]
    command += ["--cap-drop", "ALL"]
    if isolation.is_root:
        command += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        command += ["--unshare-user", "--uid", _NOBODY, "--gid", _NOBODY]
    for path in _parents([*read_only, *_DEVICES]):
        command += ["--perms", "0755", "--dir", path]  # else root's are for root alone
    for path in read_only:
        command += ["--ro-bind", path, path]
    for path in _DEVICES:
        command += ["--dev-bind", path, path]
    for path, target in links.items():
        command += ["--symlink", target, path]
    size = str(limits.file_bytes * _FILES)
    command += ["--perms", "1777", "--size", size, "--tmpfs", DIRECTORY]
    return [*command, "--remount-ro", "/", "--chdir", DIRECTORY, "--"]


def _unshare(isolation: Isolation, limits: Limits) -> list[str]:
    links, read_only = shown()
    view = {
        "read_only": read_only,
        "devices": _DEVICES,
        "links": links,
        "directory": DIRECTORY,
        "directory_bytes": limits.file_bytes * _FILES,
        "capabilities": [_SETGID, _SETUID] if isolation.is_root else [],
        "host": _HOST,
        "longest_s": int(limits.wall_s) + _GRACE_S,
    }
    command = [str(Path(isolation.path).with_name("setpriv")), "--pdeathsig", "KILL"]
    command += [isolation.path, "--mount", "--pid", "--net", "--ipc", "--uts", "--fork"]
    command += ["--kill-child", *([] if isolation.is_root else ["--user", "--map-root-user"])]
    python = [_interpreter(), "-s", "-S", "-P", "-B", "-c", _source("filesystem")]
    return [*command, "--", *python, json.dumps(view)]


def shown() -> tuple[dict[str, str], list[str]]:
    """The links and the directories and files of the machine that a program sees."""
    links = {path: str(Path(path).readlink()) for path in _SYSTEM if Path(path).is_symlink()}
    read_only = [path for path in _SYSTEM if path not in links and Path(path).exists()]
    for path in _of_the_interpreter():
        if not any(Path(path).is_relative_to(above) for above in read_only):
            read_only.append(path)
    return {**links, "/dev/shm": DIRECTORY}, read_only  # noqa: S108 - the sandbox's own


def names_at_the_top() -> set[str]:
    """All that a program finds in its root directory."""
    links, read_only = shown()
    return {Path(path).parts[1] for path in (*links, *read_only, *_DEVICES, DIRECTORY)}


def _parents(paths: list[str]) -> list[str]:
    """Every directory above them, once, outermost first."""
    above = {str(parent) for path in paths for parent in Path(path).parents}
    return sorted(above - {"/"})


def _source(name: str) -> str:
    """Read, not imported: what runs inside wants modules that other systems do not have."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


def _interpreter() -> str:
    """The interpreter itself, not the virtual environment's name for it."""
    return os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)


def _of_the_interpreter() -> list[str]:
    """Not its whole prefix, which can be somebody's home."""
    prefixes = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    places = [prefix / name for prefix in sorted(prefixes) for name in ("lib", "lib64")]
    return [_interpreter(), *(str(place) for place in places if place.is_dir())]
