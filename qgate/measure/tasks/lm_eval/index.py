"""Where lm-eval keeps a task: the YAML file of a name.

lm-eval parses its 14,000 files to know the names (6 s). One name is found by its text (0.5 s); the
index is made only for a name that is not there, to say what is near.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import ThresholdsError
from qgate.measure.tasks.lm_eval.quiet import quiet
from qgate.thresholds.values import did_you_mean, shown
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.measure.tasks.lm_eval.settings import HarnessSettings

_FEW = 4
_KEY, _END = rb"^[\"']?task[\"']?\s*:\s*[\"']?", rb"[\"']?\s*(#.*)?\r?$"


def find_task(settings: HarnessSettings) -> Path:
    """The file of a task; the user's own directory comes first, as with lm-eval's --include_path.

    Raises:
        ThresholdsError: no such directory, no such task, or the name of several tasks.
    """
    import lm_eval.tasks

    places = [Path(lm_eval.tasks.__file__).parent]
    if settings.include_path is not None:
        if not settings.include_path.is_dir():
            raise settings.error(
                f"include_path: got {shown(str(settings.include_path))}; expected a directory of"
                " task files"
            )
        places.insert(0, settings.include_path)
    for place in places:
        for path in _naming(place, settings.name):
            try:
                found = read_raw(path, settings)
            except ThresholdsError:
                if place != places[-1]:
                    raise
                continue  # lm-eval skips what it cannot read of its own
            if found.get("task") == settings.name and "group" not in found:
                return path
    return _by_index(settings)


def _naming(place: Path, name: str) -> Iterator[Path]:
    """Files that have the name as their task's, in lm-eval's order."""
    says = re.compile(_KEY + re.escape(name.encode()) + _END, re.MULTILINE)
    files = sorted(place.rglob("*.yaml"), key=Path.as_posix)
    return (path for path in files if path.is_file() and says.search(path.read_bytes()))


def read_raw(path: Path, settings: HarnessSettings) -> dict[str, Any]:
    """A task's configuration, what it includes with it; functions stay the names of theirs.

    Raises:
        ThresholdsError: it cannot be read.
    """
    from lm_eval.tasks._yaml_loader import load_yaml

    try:
        found: dict[str, Any] = load_yaml(path, resolve_func=False)
    except Exception as error:  # noqa: BLE001 - whatever YAML and what it includes raise
        reason = printable(" ".join(str(error).split()))
        raise settings.error(f"{path}: not a task: got {reason}; expected lm-eval's YAML") from None
    return found


def _by_index(settings: HarnessSettings) -> Path:
    """By lm-eval's whole index: a task may have its name from what it includes."""
    from lm_eval.tasks import TaskManager

    own = None if settings.include_path is None else str(settings.include_path)
    with quiet():
        manager = TaskManager(include_path=own)
    name = settings.name
    if name in manager.all_subtasks:
        found: Path = manager.task_index[name].yaml_path
        return found
    if name in manager.all_groups or name in manager.all_tags:
        entry = manager.task_index[name]
        members = sorted(entry.tags) if name in manager.all_tags else entry.cfg.get("task", [])
        names = [member for member in members if isinstance(member, str)] or ["..."]
        few = ", ".join(names[:_FEW]) + (", ..." if len(names) > _FEW else "")
        raise settings.error(
            f"got {shown(name)}, a group of tasks; expected one task. It has {few}"
        )
    for path in sorted(settings.include_path.rglob("*.yaml")) if settings.include_path else ():
        read_raw(path, settings)
    raise settings.error(
        f"unknown task: got {shown(name)}; expected a name of lm-eval's"
        f" {len(manager.all_subtasks)} tasks.{did_you_mean(name, manager.all_subtasks)}"
    )
