"""How many processors this process may use: what a container or `taskset` leaves of the machine's.

`os.cpu_count()` counts the machine's. A runtime that starts a thread for each of 64 processors in a
container that may use four is several times slower than with four threads.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def usable_processors(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """The processors of the CPU affinity, or of the cgroup's CPU quota where that is less.

    A quota of 2.5 processors counts as 3, as in `loky.cpu_count`.

    Args:
        cgroups: where the cgroups are mounted.
        own_cgroup: names the cgroups that this process is in.

    Returns:
        At least 1.
    """
    if hasattr(os, "sched_getaffinity"):  # absent on macOS
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min([allowed, *map(math.ceil, _quotas(cgroups, own_cgroup))]))


def _quotas(cgroups: Path, own_cgroup: Path) -> list[float]:
    """In processors, of this process's cgroup and all above it: version 2, else version 1."""
    lines = (line.split(":", 2) for line in _read(own_cgroup).splitlines())
    own = [(controllers, path) for _, controllers, path in (x for x in lines if len(x) == 3)]
    found = []
    for controllers, path in own:
        if not controllers:
            for place in _upwards(cgroups, path):
                quota, _, period = _read(place / "cpu.max").partition(" ")
                found.append(_divide(quota, period))
        elif "cpu" in controllers.split(","):
            for place in _upwards(cgroups / "cpu", path):
                period = _read(place / "cpu.cfs_period_us")
                found.append(_divide(_read(place / "cpu.cfs_quota_us"), period))
    return [quota for quota in found if quota is not None]


def _upwards(top: Path, path: str) -> list[Path]:
    """A container sees its own cgroup at the top, whatever its name outside."""
    own = Path(path.lstrip("/"))
    return [top / one for one in (own, *own.parents)]


def _divide(quota: str, period: str) -> float | None:
    """None where there is no limit: `max`, -1, or no such file."""
    try:
        processors = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return None
    return processors if processors > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return ""
