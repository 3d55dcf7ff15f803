"""The JSON schema of thresholds files, for editors and pre-commit; made from the reader's tables.

Kept to what draft-07 validators and editors understand. `python -m qgate.thresholds` prints it;
`thresholds/schema.json` is that output.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from qgate.checks import CHECKS, Check
from qgate.thresholds.grammar import INHERIT, OFF, RUNTIME, SECTIONS, TEXT, VERSION, limit_keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.thresholds.scalars import Leaf


def json_schema() -> str:
    """The schema as text, ending in a newline."""
    return json.dumps(_build(), indent=2) + "\n"


def _build() -> dict[str, Any]:
    by_name = {"type": "object", "additionalProperties": {"$ref": "#/$defs/limits"}}
    sections: dict[str, dict[str, Any]] = {
        "version": {"enum": [VERSION]},
        "inherit": INHERIT.to_schema(),
        "text": _object(TEXT),
        "runtime": _object(RUNTIME),
        # allOf: draft-07 ignores a description that stands beside a bare $ref
        "limits": {"allOf": [{"$ref": "#/$defs/limits"}]},
        "schemes": by_name,
        "artifacts": by_name,
    }
    checks = {check: {"$ref": f"#/$defs/{check}"} for check in CHECKS}
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
        "$defs": {
            "limits": {
                "type": "object",
                "additionalProperties": False,
                "properties": checks,
            },
            **{check.name: _limit(check) for check in CHECKS.values()},
        },
    }


def _limit(check: Check) -> dict[str, Any]:
    return {
        "description": check.claim,
        "anyOf": [
            {**_object(limit_keys(check)), "required": [check.bound]},
            {"enum": [OFF], "description": "Drops an inherited limit."},
        ],
    }


def _object(leaves: Mapping[str, Leaf]) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {name: leaf.to_schema() for name, leaf in leaves.items()},
    }
