"""Whether a runtime's child can be confined on this machine, tried before a model is opened."""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.confinement import NAMES, Tool
from qgate.confinement.seccomp import MACHINES
from qgate.errors import UsageError
from qgate.runtimes.confined import devices
from qgate.runtimes.confined.child_view import CAPABILITIES
from qgate.runtimes.confined.starting import Confinement, run
from qgate.untrusted.text import printable
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qgate.runtimes.confined.mode import Mode

_PATIENCE_S = 60.0
_LONGEST = 200
"""Characters of a reason."""
_FIRST_PROCESSES = 9
"""Numbers of processes in a namespace that has just begun."""
_ABSENT = "not installed"
_INSTALL = "Install bubblewrap (apt-get install bubblewrap) and "
_ALLOW = "allow user namespaces (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
_MAKE_ROOM = "Free some space where temporary files lie, or name another place with TMPDIR"
_GO_WITHOUT = "set qgate_confine = auto"
_SEES = "a confined child sees as"


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """What is known of a child before it is started."""

    python: str
    package: str = ""
    """That it imports; empty: none."""
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)


def decide(mode: Mode, children: Iterable[Child]) -> Confinement:
    """The first means that works here, for every child of the run; each is tried in about 0.1 s.

    Args:
        mode: `auto`: without, where nothing works; `require`: an error there; `off`: without.
        children: those of the run.

    Raises:
        UsageError: confinement is required and does not work.
    """
    if mode == "off":
        return Confinement(why_not="qgate_confine = off")
    found = _find(tuple(children) or (Child(python=sys.executable),))
    if mode == "require" and found.tool is None:
        raise UsageError(
            f"qgate_confine: the runtime cannot be confined: got {found.why_not}; expected"
            f" bubblewrap or unshare that works here. {found.remedy}"
        )
    return found


def _find(children: Sequence[Child]) -> Confinement:
    machine = platform.machine()
    if sys.platform != "linux" or machine not in MACHINES:
        remedy = f"Run it on Linux on {' or '.join(MACHINES)}, or {_GO_WITHOUT}"
        return Confinement(why_not=f"no means on {sys.platform}, {machine}", remedy=remedy)
    try:
        WorkFolder("qgate-child-").close()
    except OSError as error:
        reason = f"no directory for a child ({error.strerror})"
        return Confinement(why_not=reason, remedy=f"{_MAKE_ROOM}, or {_GO_WITHOUT}")
    # first of all: a driver may make its device nodes for the first who asks
    free = {child: _free(child) for child in children if devices.is_expected()}
    failures: dict[str, None] = {}
    for name, is_root in itertools.product(NAMES, (True, False) if os.geteuid() == 0 else (False,)):
        path = shutil.which(name)
        if path is None:
            failures[f"{name}: {_ABSENT}"] = None
            continue
        found = Confinement(tool=Tool(name=name, path=path), is_root=is_root)
        tries = (_why_not(found, child, free.get(child)) for child in children)
        why = next(filter(None, tries), "")
        if not why:
            return found
        failures[f"{name}: {why.removeprefix(f'{name}: ')}"] = None
    return Confinement(why_not="; ".join(failures), remedy=_remedy(failures))


def _why_not(
    confinement: Confinement,
    child: Child,
    free: dict[str, Any] | None,
) -> str:
    """Why a child cannot be confined so; empty where it can, or does not start in any way."""
    told, last_words = _look(child, confinement)
    if told is None:
        return last_words if free or _free(child) else ""
    if told["pid"] > _FIRST_PROCESSES or int(told["CapPrm"], 16) not in (0, CAPABILITIES):
        return "does not hold: a child has power over others"
    if told["Seccomp"] != "2" or told["NoNewPrivs"] != "1":
        return "does not hold: a child is refused nothing"
    if not told["sees"]["its package"]:
        free = free or _free(child)
    for what, found in told["sees"].items():
        if free and found != free[what]:
            return f"{_SEES} {what} {found}, a free one {free[what]}"[:_LONGEST]
    return ""


def _remedy(failures: Iterable[str]) -> str:
    """What lets children be confined where these are the reasons why they are not."""
    whole = "; ".join(failures)
    if _SEES in whole:  # the tool works: it is the runtime that needs more
        return _GO_WITHOUT.capitalize()
    install = _INSTALL if f"bwrap: {_ABSENT}" in whole else ""
    does = f"{install}{_ALLOW}, or {_GO_WITHOUT}"
    return does[0].upper() + does[1:]


def _free(child: Child) -> dict[str, Any]:
    """What a child sees without bounds; empty where it does not start."""
    before = devices.nodes()
    told, _ = _look(child, None)
    if before != devices.nodes():  # made because somebody asked
        told, _ = _look(child, None)
    return told["sees"] if told else {}


def _look(child: Child, confinement: Confinement | None) -> tuple[dict[str, Any] | None, str]:
    """What a child of this kind says that it sees; else None, and its last words."""
    source = Path(__file__).with_name("looking.py").read_text(encoding="utf-8")
    asked = json.dumps({"nodes": devices.nodes(), "package": child.package})
    command = [child.python, "-P", "-c", source, asked]
    try:
        said, words = run(command, child.environment, confinement, _PATIENCE_S)
    except OSError as error:
        return None, str(error.strerror)
    except subprocess.TimeoutExpired:
        return None, f"no word within {_PATIENCE_S:g} s"
    try:
        told: dict[str, Any] = json.loads(said)
    except ValueError:
        lines = words.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "no word")
        return None, printable(" ".join(last.split()).partition(". ")[0])[:_LONGEST]
    return told, ""
