"""`python -m qgate`: what can be done with a finished report, without pytest.

    python -m qgate upload REPORT [--uri URI]         send it to MLflow, again if need be
    python -m qgate verify REPORT [--artifact PATH]   decide over it: 0 only where all holds
    python -m qgate summary REPORT                    show it in GitHub Actions; decides nothing

Exit codes: 0 done or holds; 1 not uploaded or does not hold; 4 a wrong argument or report.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import QGateError, UsageError
from qgate.report.report_file import read
from qgate.report.text import escape_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_USAGE = 4
"""pytest's exit code for a usage error; argparse's 2 is pytest's word for interrupted."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(_USAGE, f"{self.prog}: {message}\n")


def main(arguments: Sequence[str]) -> int:
    """Run one command and return the exit code."""
    options = _make_parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except QGateError as error:
        sys.stderr.write(f"{escape_line(str(error))}\n")
        return _USAGE
    return code


def _make_parser() -> _Parser:
    parser = _Parser(prog="python -m qgate", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    upload = commands.add_parser("upload", help="send a report to MLflow", allow_abbrev=False)
    upload.add_argument("report", type=Path, metavar="REPORT")
    upload.add_argument(
        "--uri",
        help="default: MLFLOW_TRACKING_URI, else where the report was meant for, else .qgate",
    )
    upload.set_defaults(run=_run_upload)
    verify = commands.add_parser("verify", help="decide over a report", allow_abbrev=False)
    verify.add_argument("report", type=Path, metavar="REPORT")
    verify.add_argument(
        "--artifact",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="a model that the report must be about, by digest; repeatable",
    )
    verify.set_defaults(run=_run_verify)
    summary = commands.add_parser(
        "summary",
        help="write a report's table, annotations and outputs for GitHub Actions",
        allow_abbrev=False,
    )
    summary.add_argument("report", type=Path, metavar="REPORT")
    summary.set_defaults(run=_run_summary)
    return parser


def _run_upload(options: argparse.Namespace) -> int:
    from qgate.report.mlflow.upload import CLIENT_ENVIRONMENT, resolve_uri, upload_report

    # this process's own environment: mlflow reads it, and its defaults wait for minutes
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    meant_for = read(options.report)["mlflow"].get("uri")
    named = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or meant_for
    outcome = upload_report(options.report, resolve_uri(named, os.environ, Path.cwd()))
    if outcome.uploaded:
        sys.stdout.write(
            f"mlflow: {outcome.uri}, experiment {outcome.experiment}, run {outcome.parent_run_id}\n"
        )
        return 0
    sys.stderr.write(f"mlflow: not uploaded to {outcome.uri} ({outcome.reason})\n")
    return 1


def _run_verify(options: argparse.Namespace) -> int:
    report_json = read(options.report)
    problem = find_problem(report_json) or _find_stranger(report_json, options.artifact)
    if problem:
        sys.stderr.write(f"{escape_line(f'{options.report}: {problem}')}\n")
        return 1
    count = len(report_json["artifacts"])
    shown = escape_line(str(options.report))
    sys.stdout.write(f"{shown}: pass, {count} artifact{'s' if count != 1 else ''}\n")
    return 0


def _run_summary(options: argparse.Namespace) -> int:
    """Write to the files that GitHub names; the table to standard output where it names none."""
    from qgate.report import github

    report_json = read(options.report)
    problem = find_problem(report_json)
    page = os.environ.get("GITHUB_STEP_SUMMARY") or None
    room_bytes = github.SUMMARY_BYTES - (_count_bytes(Path(page)) if page else 0)
    _append(page, github.render_summary(report_json, problem, room_bytes))
    if os.environ.get("GITHUB_ACTIONS") == "true":
        annotations = github.render_annotations(report_json, problem)
        _append(None, "".join(f"{line}\n" for line in annotations))
    outputs = os.environ.get("GITHUB_OUTPUT")
    if outputs:
        verdict = github.get_verdict(report_json, problem)
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


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
