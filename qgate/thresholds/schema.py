"""The JSON schema of thresholds files, for editors and pre-commit; made from the reader's tables.

Kept to what draft-07 validators and editors understand. `qgate schema` prints it, with the runtimes
and checks that are installed; `thresholds/schema.json` is that output with qgate's own alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.checks import CHECKS, Check, accuracy_check
from qgate.thresholds.bands import BANDS
from qgate.thresholds.limit_forms import limit_form
from qgate.thresholds.reading import OFF
from qgate.thresholds.sections import SECTIONS, VERSION, section_of_runtime
from qgate.thresholds.settings import (
    EdgeSettings,
    Inheritance,
    LatencySettings,
    MemorySettings,
    RuntimeSettings,
    TextSettings,
)
from qgate.thresholds.task_settings import TASK_NAME, FileTaskEntry, LmEvalTaskEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class _NoOptions:
    """Of a runtime that is unknown here."""


def json_schema(
    runtimes: Mapping[str, type], checks: Mapping[str, Check] = MappingProxyType({})
) -> str:
    """The schema as text, ending in a newline.

    Args:
        runtimes: the options of every runtime that it is to know.
        checks: rows beside qgate's own.
    """
    return json.dumps(_build(runtimes, {**CHECKS, **checks}), indent=2) + "\n"


def _build(runtimes: Mapping[str, type], checks: Mapping[str, Check]) -> dict[str, Any]:
    by_name = {"type": "object", "additionalProperties": {"$ref": "#/$defs/limits"}}
    sections: dict[str, dict[str, Any]] = {
        "version": {"enum": [VERSION]},
        "inherit": _properties(Inheritance)["inherit"],
        "text": _section(TextSettings),
        "runtime": _section(RuntimeSettings),
        "runtimes": {
            "type": "object",
            "properties": {
                name: _section(section_of_runtime(options)) for name, options in runtimes.items()
            },
            "propertyNames": {"pattern": "^[a-z][a-z0-9_]*$"},
            "additionalProperties": _section(section_of_runtime(_NoOptions)),
        },
        "tasks": {
            "type": "object",
            "additionalProperties": False,
            "patternProperties": {f"^{TASK_NAME}$": {"$ref": "#/$defs/task"}},
        },
        "edge": _section(EdgeSettings),
        "latency": _section(LatencySettings),
        "memory": _section(MemorySettings),
        # allOf: draft-07 ignores a description that stands beside a bare $ref
        "limits": {"allOf": [{"$ref": "#/$defs/limits"}]},
        "bands": _bands(),
        "schemes": by_name,
        "artifacts": by_name,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "qgate thresholds",
        "description": "Limits that quantized artifacts are held to by pytest --qgate.",
        "type": "object",
        "additionalProperties": False,
        "required": ["version"],
        "properties": {
            name: {"description": help_, **sections[name]} for name, help_ in SECTIONS.items()
        },
        "$defs": _definitions(checks),
    }


def _bands() -> dict[str, Any]:
    limits = {"allOf": [{"$ref": "#/$defs/limits"}]}
    name = f"({'|'.join(BANDS)})"
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: {"description": whom, **limits} for name, whom in BANDS.items()},
        "patternProperties": {f"^{name}(, *{name})+$": limits},
    }


def _definitions(checks: Mapping[str, Check]) -> dict[str, Any]:
    of_tasks = accuracy_check("TASK")
    return {
        "limits": {
            "type": "object",
            "additionalProperties": False,
            "properties": {check: {"$ref": f"#/$defs/{check}"} for check in checks},
            "patternProperties": {
                f"^accuracy\\.{TASK_NAME}$": {"$ref": f"#/$defs/{of_tasks.name}"}
            },
        },
        "task": _or_off(
            "Items that reference and artifact answer.",
            "Drops an inherited task and its limits.",
            _section(FileTaskEntry),
            _section(LmEvalTaskEntry),
        ),
        **{check.name: _limit(check) for check in (*checks.values(), of_tasks)},
    }


def _limit(check: Check) -> dict[str, Any]:
    form = limit_form(check)
    limit = _section(form.model)
    if len(form.bounds) > 1:
        limit["oneOf"] = [{"required": [bound]} for bound in form.bounds]
    return _or_off(check.claim, "Drops an inherited limit.", limit)


def _or_off(description: str, off: str, *mappings: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": description,
        "anyOf": [*mappings, {"enum": [OFF], "description": off}],
    }


def _section(model: type[BaseModel]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": _properties(model),
        "required": [name for name, field in model.model_fields.items() if field.is_required()],
    }


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    """By key: as pydantic tells, but without null, which no file may have."""
    properties = {}
    for name, told in model.model_json_schema()["properties"].items():
        kinds = [kind for kind in told.get("anyOf", ()) if kind != {"type": "null"}]
        found = {**told, **(kinds[0] if kinds else {})}
        if found.get("default", "") is None:
            del found["default"]
        for key in ("anyOf", "format", "title"):
            found.pop(key, None)
        properties[name] = dict(sorted(found.items()))
    return properties
