"""From the `tasks` section to what is asked, and to the limits on the rows that it makes.

What a file of items holds is read where items are asked; here it must only be there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import yaml

from qgate.checks import accuracy_check
from qgate.thresholds.limit_forms import TaskLimit, limit_form
from qgate.thresholds.model import Layer
from qgate.thresholds.reading import OFF
from qgate.thresholds.task_settings import (
    TASK_NAME,
    FileTaskEntry,
    LmEvalTask,
    LmEvalTaskEntry,
    TaskSettings,
)
from qgate.thresholds.values import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Limit
    from qgate.thresholds.reading import Reader
    from qgate.thresholds.yaml_document import Entry

_EVERY_KEY = tuple(dict.fromkeys((*FileTaskEntry.model_fields, *LmEvalTaskEntry.model_fields)))


def read_tasks(
    reader: Reader, sections: Mapping[str, Entry], inherited: tuple[TaskSettings, ...]
) -> tuple[tuple[TaskSettings, ...], tuple[Layer, ...], tuple[str, ...]]:
    """The tasks that hold with this file, what it says of their limits, and all their names.

    A task replaces an inherited one of its name as a whole, with all limits on it; `off` drops it.
    The names are also those of tasks with a mistake: others may refer to them.
    """
    tasks = {task.name: task for task in inherited}
    if "tasks" not in sections:
        return inherited, (), tuple(tasks)
    names = dict.fromkeys(tasks)
    limits: dict[str, Limit | None] = {}
    for entry in reader.mapping(sections["tasks"].node, "tasks").values():
        found = _read_task(reader, entry)
        if isinstance(found, str):
            _require_inherited(reader, entry, tasks)
            tasks.pop(entry.key, None)
            names.pop(entry.key, None)
            limits[accuracy_check(entry.key).name] = None
            continue
        names[entry.key] = None
        if found is not None:
            tasks[entry.key] = _settings(reader, entry, found)
            form = limit_form(accuracy_check(entry.key))
            source = reader.document.source(entry.line)
            limits[form.check.name] = form.limit(found, source)
    return tuple(tasks.values()), (Layer(scope="all", limits=limits),), tuple(names)


def _require_inherited(reader: Reader, entry: Entry, inherited: Mapping[str, TaskSettings]) -> None:
    if entry.key not in inherited:
        hint = did_you_mean(entry.key, inherited)
        reader.note(
            entry.line,
            f"tasks.{entry.key}: got {OFF}; expected an inherited task.{hint} "
            f"Inherited: {', '.join(inherited) or 'none'}.",
        )


def _read_task(
    reader: Reader, entry: Entry
) -> FileTaskEntry | LmEvalTaskEntry | Literal["off"] | None:
    where = f"tasks.{entry.key}"
    if not re.fullmatch(TASK_NAME, entry.key):
        reader.note(
            entry.line,
            f"{where}: got {shown(entry.key)} as a name; expected a word of a-z, 0-9 and _ such as "
            "next_sentence.",
        )
        return None
    has_file = isinstance(entry.node, yaml.MappingNode) and any(
        key.value == "file" for key, _ in entry.node.value
    )
    kinds: list[type[FileTaskEntry | LmEvalTaskEntry]] = [FileTaskEntry, LmEvalTaskEntry]
    names = ["one with a file", "a task of lm-eval"]
    (model, other), (name, of) = (kinds, names) if has_file else (kinds[::-1], names[::-1])
    of_other = {
        key: f"got {key} for {name}; expected it for {of} alone."
        for key in other.model_fields
        if key not in model.model_fields
    }
    return reader.read_or_off(
        entry,
        where,
        model,
        example="{file: ..., max_drop: ...}",
        inherited="task",
        near_misses={**of_other, **limit_form(accuracy_check(entry.key)).near_misses},
        valid=_EVERY_KEY,
    )


def _settings(reader: Reader, entry: Entry, found: FileTaskEntry | LmEvalTaskEntry) -> TaskSettings:
    values = {key: getattr(found, key) for key in found.model_fields_set}
    lm_eval = None
    if isinstance(found, LmEvalTaskEntry):
        own = {key: values.pop(key) for key in LmEvalTask.model_fields if key in values}
        lm_eval = LmEvalTask(**own)
    of_task = {key: value for key, value in values.items() if key not in TaskLimit.model_fields}
    source = reader.document.source(entry.line)
    return TaskSettings(name=entry.key, lm_eval=lm_eval, source=source, **of_task)
