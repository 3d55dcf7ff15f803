"""`qgate verify REPORT`: decide over a finished report; 0 only where all of it holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from qgate.report.report_file import read
from qgate.report.text import escape_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path


def run_verify(options: argparse.Namespace) -> int:
    report_json = read(options.report)
    problem = find_problem(report_json) or _find_stranger(report_json, options.artifact)
    if problem:
        sys.stderr.write(f"{escape_line(f'{options.report}: {problem}')}\n")
        return 1
    count = len(report_json["artifacts"])
    shown = escape_line(str(options.report))
    sys.stdout.write(f"{shown}: pass, {count} artifact{'s' if count != 1 else ''}\n")
    return 0


def find_problem(report_json: dict[str, Any]) -> str | None:
    """Return why a report does not hold, in one line; None where it does."""
    if report_json["verdict"] != "pass":
        return f"verdict: got {report_json['verdict']!r}; expected 'pass'."
    if not report_json["artifacts"]:
        return "artifacts: got none; expected at least one."
    for artifact in report_json["artifacts"]:
        problem = _find_artifact_problem(artifact)
        if problem:
            return f"{artifact['id']}: {problem}"
    return None


def _find_artifact_problem(artifact: dict[str, Any]) -> str | None:
    if artifact["verdict"] != "pass":
        return f"verdict: got {artifact['verdict']!r}; expected 'pass'."
    for check in artifact["checks"]:
        verdict, limit = check["verdict"], check["limit"]
        if verdict == "skipped" and limit is not None:
            return f"{check['name']}: got 'skipped'; expected 'pass', it has a limit."
        if verdict not in ("pass", "skipped"):
            return f"{check['name']}: got {verdict!r}; expected 'pass'."
    if not any(check["verdict"] == "pass" for check in artifact["checks"]):
        return "rows: got none that was measured; expected at least one."
    return None


def _find_stranger(report_json: dict[str, Any], paths: Sequence[Path]) -> str | None:
    """Return which of the named models the report is not about."""
    if not paths:
        return None
    from qgate.artifacts import digest, discover

    known = {artifact.get("digest") for artifact in report_json["artifacts"]}
    for artifact in discover(paths):
        if artifact.problem is not None:
            return f"{artifact.path}: {artifact.problem}"
        actual = digest(artifact)
        if actual not in known:
            return f"{artifact.path}: digest: got {actual}; expected one that the report holds."
    return None
