"""What a sandboxed program sees, and the command that shows it nothing else.

A caller who is root makes the namespaces by that power, and the program then becomes a user that
nobody is: the limit of processes does not bind root, nor a root that is root by name only. Anybody
else gets a user namespace.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.confinement.tools import interpreter
from qgate.confinement.view import DEVICES, View

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.confinement.tools import Tool
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
_FILES = 16
_SETGID, _SETUID = 6, 7
"""CAP_SETGID, CAP_SETUID of capabilities(7)."""
_HOST = "sandbox"
_GRACE_S = 5
"""After its deadline a sandbox of unshare ends by itself, whatever became of its caller."""
_HIGHEST_USER = 2_000_000_000
_LOWEST_USER = 10_000
_SYSTEMS_OWN = 1000
"""Numbers at a range's end that stay unused: `nobody` is 65534."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """A means to run programs apart; made by `find_isolation`, which has tried it."""

    tool: Tool
    is_root: bool
    """The caller is root and the program becomes somebody else."""

    def command(self, limits: Limits, job_file: int, filter_file: int) -> list[str]:
        """The command line of one sandbox; both files are inherited by it."""
        python = [interpreter(), "-s", "-S", "-P", "-B", "-c", _source("inside")]
        return [*self.tool.command(self._view(limits), filter_file), *python, str(job_file)]

    def user(self) -> int | None:
        """Who the program becomes: another one each time, so that no two share a limit."""
        return secrets.choice(unused_users()) if self.is_root else None

    def _view(self, limits: Limits) -> View:
        links, read_only = shown()
        return View(
            read_only=tuple(read_only),
            links=links,
            memory={DIRECTORY: limits.file_bytes * _FILES},
            directory=DIRECTORY,
            capabilities=(_SETGID, _SETUID) if self.is_root else (),
            is_root=self.is_root,
            host=_HOST,
            longest_s=int(limits.wall_s) + _GRACE_S,
        )


def unused_users() -> range:
    """Numbers of users that this machine or container has room for and most likely nobody uses."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    ranges = [(int(first), int(first) + int(n)) for first, _, n in map(str.split, lines)]
    first, end = max(ranges, key=lambda found: found[1] - found[0])
    return range(max(first, _LOWEST_USER), min(end - _SYSTEMS_OWN, _HIGHEST_USER))


def shown() -> tuple[dict[str, str], list[str]]:
    """The links and the directories and files of the machine that a program sees."""
    links = {path: str(Path(path).readlink()) for path in _SYSTEM if Path(path).is_symlink()}
    read_only = [path for path in _SYSTEM if path not in links and Path(path).exists()]
    for path in _of_theinterpreter():
        if not any(Path(path).is_relative_to(above) for above in read_only):
            read_only.append(path)
    return {**links, "/dev/shm": DIRECTORY}, read_only  # noqa: S108 - the sandbox's own


def names_at_the_top() -> set[str]:
    """All that a program finds in its root directory."""
    links, read_only = shown()
    return {Path(path).parts[1] for path in (*links, *read_only, *DEVICES, DIRECTORY)}


def _source(name: str) -> str:
    """Read, not imported: what runs inside wants modules that other systems do not have."""
    return Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")


def _of_theinterpreter() -> list[str]:
    """Not its whole prefix, which can be somebody's home."""
    prefixes = {Path(sys.base_prefix).resolve(), Path(sys.base_exec_prefix).resolve()}
    places = [prefix / name for prefix in sorted(prefixes) for name in ("lib", "lib64")]
    return [interpreter(), *(str(place) for place in places if place.is_dir())]
