"""From the `tasks` section to what is asked, and to the limits on the rows that it makes.

What a file of items holds is read where items are asked; here it must only be there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from qgate.checks import accuracy_check
from qgate.thresholds.grammar import OFF
from qgate.thresholds.limit_forms import limit_form
from qgate.thresholds.limits import refuse_misnomers
from qgate.thresholds.model import Layer, LmEvalTask, TaskSettings
from qgate.thresholds.task_grammar import FILE_TASK, LM_EVAL_TASK, TASK_NAME, limit_of_task
from qgate.thresholds.values import did_you_mean, shown
from qgate.thresholds.yaml_document import seen

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qgate.records import Limit
    from qgate.thresholds.values import Leaf
    from qgate.thresholds.yaml_document import Document, Entry


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
    where, source = f"tasks.{entry.key}", document.source(entry.line)
    if not re.fullmatch(TASK_NAME, entry.key):
        raise document.error(
            entry.line,
            f"{where}: got {shown(entry.key)} as a name; expected a word of a-z, 0-9 and _ such as "
            "next_sentence.",
        )
    check = accuracy_check(entry.key)
    form = limit_form(check)
    refuse_misnomers(document, entry.node, where, form)
    written = document.mapping(entry.node, where, {**FILE_TASK, **LM_EVAL_TASK, **limit_of_task()})
    has_file = "file" in written
    keys = FILE_TASK if has_file else LM_EVAL_TASK
    _refuse_keys_of_the_other_kind(document, written, where, keys, has_file=has_file)
    values = document.values(entry.node, where, {**keys, **limit_of_task()})
    document.require(entry.line, where, form.bounds, values)
    asked = {key: values[key] for key in keys if key in values}
    make = _of_file if has_file else _of_lm_eval
    task = TaskSettings(name=entry.key, source=source, **make(document, entry, where, asked))
    return task, form.limit(check, values, source)


def _refuse_keys_of_the_other_kind(
    document: Document,
    written: Mapping[str, Entry],
    where: str,
    keys: Mapping[str, Leaf],
    *,
    has_file: bool,
) -> None:
    for key, entry in written.items():
        if key not in keys and key not in limit_of_task():
            kinds = ("a task of lm-eval", "one with a file")
            kind, other = kinds if has_file else kinds[::-1]
            raise document.error(
                entry.line, f"{where}: got {key} for {other}; expected it for {kind} alone."
            )


def _of_file(
    document: Document, entry: Entry, where: str, values: dict[str, Any]
) -> dict[str, Any]:
    metric = values.get("metric", "exact")
    if metric == "code" and "code_execution" not in values:
        raise document.error(
            entry.line,
            f"{where}: metric code runs what the model wrote: got no code_execution; expected "
            "code_execution: sandbox, which allows it.",
        )
    for key in ("ignore_case", "ignore_punctuation"):
        if values.get(key) and metric != "exact":
            raise document.error(
                entry.line, f"{where}.{key}: got metric {metric}; expected exact, which knows it."
            )
    path = _beside(document, entry, where, "file", values["file"])
    return {**values, "file": path}


def _of_lm_eval(
    document: Document, entry: Entry, where: str, values: dict[str, Any]
) -> dict[str, Any]:
    paths: dict[str, Any] = {
        key: _beside(document, entry, where, key, values.pop(key))
        for key in ("include_path", "data")
        if key in values
    }
    own = {
        key: values.pop(key) for key in ("num_fewshot", "group", "chat_template") if key in values
    }
    task = LmEvalTask(name=values.pop("task", entry.key), **paths, **own)
    return {**values, "lm_eval": task}


def _beside(document: Document, entry: Entry, where: str, key: str, written: str) -> Path:
    """A path that the entry names, which has to be there."""
    path = document.beside(written)
    is_there = path.is_dir() if key == "include_path" else path.is_file()
    if not is_there:
        line = document.mapping(entry.node, where)[key].line
        kind = "directory" if key == "include_path" else "file"
        leaf = FILE_TASK.get(key) or LM_EVAL_TASK[key]
        expected = leaf.constraint if kind == "file" else "a directory, relative to this file"
        raise document.error(
            line, f"{where}.{key}: no such {kind}: got {shown(written)}; expected {expected}."
        )
    return path
