"""From the `tasks` section to what is asked, and to the limits on the rows that it makes.

What a file of items holds is read where items are asked; here it must only be there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml

from qgate.checks import accuracy_check
from qgate.records import SourceLine
from qgate.thresholds.document import seen
from qgate.thresholds.forms import limit_form
from qgate.thresholds.grammar import OFF, TASK, TASK_NAME, task_keys
from qgate.thresholds.limits import refuse_misnomers
from qgate.thresholds.model import Layer, TaskSettings
from qgate.thresholds.scalars import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Limit
    from qgate.thresholds.document import Document, Entry


def read_tasks(
    document: Document, sections: dict[str, Entry], inherited: tuple[TaskSettings, ...]
) -> tuple[tuple[TaskSettings, ...], tuple[Layer, ...]]:
    """The tasks that hold with this file, and what it says of their limits, for every artifact.

    A task replaces an inherited one of its name as a whole, with all limits on it; `off` drops it.
    """
    if "tasks" not in sections:
        return inherited, ()
    tasks = {task.name: task for task in inherited}
    limits: dict[str, Limit | None] = {}
    for entry in document.mapping(sections["tasks"].node, "tasks").values():
        check = accuracy_check(entry.key)
        if _is_off(document, entry, tasks):
            del tasks[entry.key]
            limits[check.name] = None
        else:
            tasks[entry.key], limits[check.name] = _task(document, entry)
    return tuple(tasks.values()), (Layer(scope="all", limits=limits),)


def _is_off(document: Document, entry: Entry, inherited: Mapping[str, TaskSettings]) -> bool:
    where = f"tasks.{entry.key}"
    if not isinstance(entry.node, yaml.ScalarNode):
        return False
    if entry.node.value != OFF:
        raise document.error(
            entry.line,
            f"{where}: got {seen(entry.node)}; expected a mapping such as "
            f"{{file: ..., max_drop: ...}}, or {OFF} to drop an inherited task.",
        )
    if entry.key not in inherited:
        names = ", ".join(inherited) or "none"
        raise document.error(
            entry.line,
            f"{where}: got {OFF}; expected an inherited task."
            f"{did_you_mean(entry.key, inherited)} Inherited: {names}.",
        )
    return True


def _task(document: Document, entry: Entry) -> tuple[TaskSettings, Limit]:
    where, source = f"tasks.{entry.key}", SourceLine(document.shown, entry.line)
    if not re.fullmatch(TASK_NAME, entry.key):
        raise document.error(
            entry.line,
            f"{where}: got {shown(entry.key)} as a name; expected a word of a-z, 0-9 and _ such as "
            "next_sentence.",
        )
    check, keys = accuracy_check(entry.key), task_keys()
    form = limit_form(check)
    refuse_misnomers(document, entry.node, where, form)
    values = document.values(entry.node, where, keys)
    document.require(entry.line, where, {"file": keys["file"], **form.bounds}, values)
    path = document.beside(values["file"])
    if not path.is_file():
        line = document.mapping(entry.node, where)["file"].line
        raise document.error(
            line,
            f"{where}.file: no such file: got {shown(values['file'])}; expected "
            f"{keys['file'].constraint}.",
        )
    settings = {key: values[key] for key in TASK if key in values}
    task = TaskSettings(**{**settings, "name": entry.key, "file": path, "source": source})
    return task, form.limit(check, values, source)
