"""The lines around a run: what is gated against what, and which limits apply."""

from __future__ import annotations

import shlex
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.report.rows import unit_of
from qgate.report.text import escape_line
from qgate.verdict import format_bound, format_value, name_conditions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import Artifact, Limit
    from qgate.report.mlflow.runs import UploadOutcome

_LEAST_NAME = 22
_AS_WRITTEN = ("ms", "bytes", "GiB")
"""Units of bounds that are round numbers, whatever digits a measurement has."""


def header(
    paths: Sequence[str],
    artifacts: Sequence[Artifact],
    reference: Artifact | None,
    thresholds: Sequence[str],
    effort: str,
) -> list[str]:
    """The two header lines of a gated run."""
    where = ", ".join(escape_line(path) for path in paths)
    count = f"{len(artifacts)} artifact{'' if len(artifacts) == 1 else 's'}"
    against = escape_line(reference.id) if reference else "none found"
    return [
        f"qgate: {where} ({count}), reference {against}",
        f"qgate: limits from {', '.join(thresholds)}, effort {effort}",
    ]


def limits_listing(
    limits: Mapping[str, Mapping[str, Limit]], bands: Mapping[str, str] = MappingProxyType({})
) -> list[str]:
    """For --collect-only -v: each artifact's limits, and where each is written.

    Args:
        limits: by artifact and check.
        bands: by artifact, the band that it is held to and why.
    """
    lines = []
    names = [check for rows in limits.values() for check in rows]
    width = max(_LEAST_NAME, *map(len, names), 0)
    for artifact_id, rows in limits.items():
        lines.append(f"qgate: limits of {escape_line(artifact_id)}:" + ("" if rows else " none"))
        lines += [f"  band {bands[artifact_id]}"] if artifact_id in bands else []
        lines += [f"  {check:<{width}} {_bounds(check, limit)}" for check, limit in rows.items()]
    return lines


def _bounds(check: str, limit: Limit) -> str:
    unit = unit_of(check)
    before, after = name_conditions(limit.parameters)
    signs = (("<=", limit.max), (">=", limit.min))
    bounds = [f"{sign} {_bound(bound, unit)}" for sign, bound in signs if bound is not None]
    shown = f"{before}{' and '.join(bounds)}{after}"
    return f"{shown:<12} {limit.rule:<8} {limit.source}"


def _bound(bound: float, unit: str) -> str:
    return format_bound(bound, unit) if unit in _AS_WRITTEN else format_value(bound, unit)


def upload_line(outcome: UploadOutcome, report: str, store: str = "") -> str:
    """Where the run is in MLflow, or what sends it again.

    Args:
        outcome: of the upload.
        report: the path of the report.
        store: the address, or what stands for it, where the command does not find it by itself.
    """
    if outcome.uploaded:
        return f"mlflow: {escape_line(outcome.uri)}, run {outcome.parent_run_id}"
    named = ("--uri", store) if store else ()
    again = escape_line(shlex.join(["qgate", "upload", report, *named]))
    return f"mlflow: not uploaded ({escape_line(outcome.reason or '')}). Send it again: {again}"
