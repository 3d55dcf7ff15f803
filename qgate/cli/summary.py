"""`qgate summary REPORT`: show a finished report in GitHub Actions; decides nothing."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.cli.verify import find_problem
from qgate.errors import UsageError
from qgate.report.report_file import read

if TYPE_CHECKING:
    import argparse


def run_summary(options: argparse.Namespace) -> int:
    """Write to the files that GitHub names; the table to standard output where it names none."""
    from qgate.report import github

    report = read(options.report)
    problem = find_problem(report, options.report)
    page = os.environ.get("GITHUB_STEP_SUMMARY") or None
    room_bytes = github.SUMMARY_BYTES - (_count_bytes(Path(page)) if page else 0)
    _append(page, github.render_summary(report, problem, room_bytes))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        annotations = github.render_annotations(report, problem)
        _append(None, "".join(f"{line}\n" for line in annotations))
    outputs = os.environ.get("GITHUB_OUTPUT")
    if outputs:
        verdict = github.get_verdict(report, problem)
        _append(outputs, github.render_output("report", str(options.report)))
        _append(outputs, github.render_output("verdict", verdict))
    return 0


def _count_bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: str | None, text: str) -> None:
    """Add `text` to a file, or to standard output; always UTF-8, as GitHub reads it."""
    data = text.encode("utf-8", "surrogateescape")
    if path is None:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()
        return
    try:
        with Path(path).open("ab") as file:
            file.write(data)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written: got {error.strerror}; expected a file of the runner's."
        ) from error
