"""What a confined process sees and may use."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Kind = Literal["read-only", "writable", "device", "memory", "link", "proc"]

DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
PROC = "/proc"
_MOST_LINKS = 40
"""As many as the kernel follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One thing in the file system of a view."""

    kind: Kind
    path: str
    target: str = ""
    """Of a link."""
    size_bytes: int | None = None
    """Of memory, at most; None: half of the machine's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that a process gets; what is not named here it does not have.

    Paths are absolute, are called the same inside and outside, and are there.
    """

    read_only: tuple[str, ...]
    writable: tuple[str, ...] = ()
    devices: tuple[str, ...] = DEVICES
    links: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What each symbolic link points at."""
    memory: Mapping[str, int | None] = field(default_factory=lambda: MappingProxyType({}))
    """Empty directories in memory, which vanish with the process; so many bytes each at most."""
    directory: str = "/tmp"  # noqa: S108 - the view's own
    """Where it works."""
    has_proc: bool = False
    """Whether it has a /proc, of its own processes."""
    has_network: bool = False
    """Whether it has the caller's network."""
    host: str = "localhost"
    """What it takes for the machine's name."""
    is_root: bool = False
    """Whether the caller is root and uses that power; else a user namespace gives what is needed.
    """
    capabilities: tuple[int, ...] = ()
    """That it keeps, by their numbers; see capabilities(7)."""
    goes_first: int = 1000
    """How early it goes where the machine runs out of memory: `oom_score_adj` of proc(5)."""
    longest_s: int | None = None
    """It ends by itself after that; None: when its caller ends it, or ends. `unshare` only."""

    def places(self) -> tuple[Place, ...]:
        """Everything in its file system, what lies above before what lies within."""
        found = [Place(kind="read-only", path=path) for path in self.read_only]
        found += [Place(kind="writable", path=path) for path in self.writable]
        found += [Place(kind="device", path=path) for path in self.devices]
        found += [Place(kind="link", path=at, target=to) for at, to in self.links.items()]
        found += [Place(kind="memory", path=at, size_bytes=n) for at, n in self.memory.items()]
        found += [Place(kind="proc", path=PROC)] if self.has_proc else []
        return tuple(sorted(found, key=lambda place: PurePath(place.path).parts))


def kernel_settings() -> list[str]:
    """What in /proc is not about a process, and could be written to by a user called root."""
    found = []
    for entry in os.scandir(PROC):
        if entry.name.isdigit() or entry.is_symlink():
            continue
        if entry.is_dir() or entry.stat().st_mode & 0o222:
            found.append(entry.path)
    return sorted(found)


def trace(path: str | Path) -> tuple[dict[str, str], str]:
    """The links on the way to a path, and where it ends: what has to be there to get to it."""
    links: dict[str, str] = {}
    left, at, followed = deque(PurePath(path).parts[1:]), "/", 0
    while left:
        part = left.popleft()
        if part == "..":
            at = str(PurePath(at).parent)
            continue
        here = str(PurePath(at, part))
        if not os.path.islink(here) or followed == _MOST_LINKS:  # noqa: PTH114 - as below
            at = here
            continue
        followed += 1
        links[here] = str(Path(here).readlink())
        left.extendleft(reversed([part for part in PurePath(links[here]).parts if part != "/"]))
        at = "/" if links[here].startswith("/") else at
    return links, at


def without_steps_up(path: str | Path) -> Path:
    """The same place, absolute, with no `..` on the way: that directory may not be in a view.

    Links up to the last `..` are followed, as only the file system knows what lies above where
    they lead; those behind it stay.
    """
    parts = Path(path).absolute().parts
    if ".." not in parts:
        return Path(*parts)
    behind = len(parts) - parts[::-1].index("..")
    return Path(os.path.realpath(Path(*parts[:behind])), *parts[behind:])


def reach(paths: Iterable[str | Path]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The links and the fewest places that show all of these paths, where they are there.

    Args:
        paths: absolute ones.
    """
    links: dict[str, str] = {}
    ends: set[str] = set()
    for path in paths:
        found, end = trace(path)
        if os.path.exists(end):  # noqa: PTH110 - False, too, where nobody may look
            links |= found
            ends.add(end)
    shown = tuple(sorted(end for end in ends if not ends & set(_above(end))))
    known = set(shown)
    return {at: to for at, to in links.items() if not known & set(_above(at))}, shown


def _above(path: str) -> Iterator[str]:
    return map(str, PurePath(path).parents)
