"""The answers that changed for the worse, of all artifacts, as a table: who, what, both sides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

COLUMNS = ("artifact", "check", "prompt", "expected", "reference_answer", "artifact_answer")


def tabulate_flips(report_json: dict[str, Any]) -> dict[str, Any]:
    """`columns` and `data`, as pandas' orient="split" and MLflow's tables have it."""
    return {"columns": list(COLUMNS), "data": [list(row) for row in _rows(report_json)]}


def _rows(report_json: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for artifact in report_json["artifacts"]:
        for check in artifact["checks"]:
            for sample in check["details"].get("worst") or []:
                if {"prompt", "reference", "artifact"} <= sample.keys():
                    told = (sample.get(key, "") for key in ("prompt", "expected"))
                    sides = (sample["reference"], sample["artifact"])
                    yield (artifact["id"], check["name"], *told, *sides)
