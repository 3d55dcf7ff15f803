"""The lines around a run: what is gated against what, and which limits apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.report.text import escape_line
from qgate.verdict import format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import Artifact, Limit
    from qgate.report.upload import UploadOutcome


def header(
    paths: Sequence[str],
    artifacts: Sequence[Artifact],
    original: Artifact | None,
    thresholds: Sequence[str],
) -> list[str]:
    """The two header lines of a gated run."""
    where = ", ".join(escape_line(path) for path in paths)
    count = f"{len(artifacts)} artifact{'' if len(artifacts) == 1 else 's'}"
    against = escape_line(original.id) if original else "none found"
    return [
        f"qgate: {where} ({count}), reference {against}",
        f"qgate: limits from {', '.join(thresholds)}",
    ]


def limits_listing(limits: Mapping[str, Mapping[str, Limit]]) -> list[str]:
    """For --collect-only -v: each artifact's limits, and where each is written."""
    lines = []
    for artifact_id, rows in limits.items():
        lines.append(f"qgate: limits of {escape_line(artifact_id)}:" + ("" if rows else " none"))
        lines += [f"  {check:<22} {_bounds(check, limit)}" for check, limit in rows.items()]
    return lines


def _bounds(check: str, limit: Limit) -> str:
    from qgate.checks import CHECKS

    unit = CHECKS[check].unit
    signs = (("<=", limit.max), (">=", limit.min))
    bounds = [f"{sign} {format_value(bound, unit)}" for sign, bound in signs if bound is not None]
    return f"{' and '.join(bounds):<12} {limit.rule:<8} {limit.source}"


def upload_line(outcome: UploadOutcome, report: str) -> str:
    """Where the run is in MLflow, or how to send it again."""
    if outcome.uploaded:
        return f"mlflow: {escape_line(outcome.uri)}, run {outcome.parent_run_id}"
    again = f"python -m qgate upload {report}"
    return f"mlflow: not uploaded ({escape_line(outcome.reason or '')}). Send it again: {again}"
