"""`qgate verify REPORT`: decide over a finished report; 0 only where all of it holds."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qgate.records import Verdict
from qgate.report.report_file import read
from qgate.report.session_files import find_unfinished
from qgate.report.text import escape_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from pathlib import Path

    from qgate.records import ArtifactReport, Report


def run_verify(options: argparse.Namespace) -> int:
    report = read(options.report)
    problem = find_problem(report, options.report) or _find_stranger(report, options.artifact)
    if problem:
        sys.stderr.write(f"{escape_line(f'{options.report}: {problem}')}\n")
        return 1
    count = len(report.artifacts)
    shown = escape_line(str(options.report))
    sys.stdout.write(f"{shown}: pass, {count} artifact{'s' if count != 1 else ''}\n")
    return 0


def find_problem(report: Report, path: Path) -> str | None:
    """Return why a report does not hold, in one line; None where it does."""
    unfinished = find_unfinished(path)
    if unfinished is not None:
        return (
            f"is of an earlier gate: the last one was killed, or could not write its own, and left"
            f" {unfinished}; expected a gate that ended. Run it again."
        )
    if report.verdict is not Verdict.PASS:
        return f"verdict: got {report.verdict.value!r}; expected 'pass'."
    if not report.artifacts:
        return "artifacts: got none; expected at least one."
    for artifact in report.artifacts:
        problem = _find_artifact_problem(artifact)
        if problem:
            return f"{artifact.id}: {problem}"
    return None


def _find_artifact_problem(artifact: ArtifactReport) -> str | None:
    if artifact.verdict is not Verdict.PASS:
        return f"verdict: got {artifact.verdict.value!r}; expected 'pass'."
    for record in artifact.records:
        if record.verdict is Verdict.SKIPPED and record.limit is not None:
            return f"{record.name}: got 'skipped'; expected 'pass', it has a limit."
        if record.verdict not in (Verdict.PASS, Verdict.SKIPPED):
            return f"{record.name}: got {record.verdict.value!r}; expected 'pass'."
    if not any(record.verdict is Verdict.PASS for record in artifact.records):
        return "rows: got none that was measured; expected at least one."
    return None


def _find_stranger(report: Report, paths: Sequence[Path]) -> str | None:
    """Return which of the named models the report is not about."""
    if not paths:
        return None
    from qgate.artifacts import digest, discover

    known = {artifact.digest for artifact in report.artifacts}
    for artifact in discover(paths):
        if artifact.problem is not None:
            return f"{artifact.path}: {artifact.problem}"
        actual = digest(artifact)
        if actual not in known:
            return f"{artifact.path}: digest: got {actual}; expected one that the report holds."
    return None
