"""What GitHub Actions is told of a report: step summary, annotations and outputs, as text.

Pure: `python -m qgate summary` reads the report and writes the files. The bounds are those of
GitHub's runner (actions/runner, 2.33x): a summary of more than 1 MiB is dropped as a whole; of one
step 10 errors are kept, each cut to 4 096 characters. Texts of an artifact are escaped for the
place where they go: Markdown, a command's message or its properties.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import UsageError
from qgate.records import Verdict
from qgate.report.table import render_markdown
from qgate.report.text import cut_lines, escape_line, escape_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUMMARY_BYTES = 1_000_000
"""Of GitHub's 1 048 576; the runner counts what other commands of the step wrote as well."""
_ANNOTATIONS = 9
"""Of GitHub's 10: the failing step's own `Process completed with exit code 1` is one of them."""
_TITLE_LENGTH = 200
_MESSAGE_LENGTH = 4000
_CUT_NOTE = (
    "\n\nCut here: GitHub shows 1 MiB. The whole table is in the report that the run uploads."
)
_DAMAGED = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """One cause; rows of an artifact that share it are told once."""

    artifact_id: str
    cause: str
    checks: Sequence[dict[str, Any]]


def get_verdict(report_json: dict[str, Any], problem: str | None) -> str:
    """Return the verdict that a workflow may compare: one of the report's words.

    Args:
        report_json: the report.
        problem: why `verify` refuses it; None where it holds. A report that calls itself a pass
            all the same contradicts itself, which is an error.
    """
    claimed: str = report_json["verdict"]
    if claimed not in {verdict.value for verdict in Verdict}:
        return Verdict.ERROR.value
    return Verdict.ERROR.value if problem and claimed == Verdict.PASS.value else claimed


def render_summary(
    report_json: dict[str, Any], problem: str | None, room_bytes: int = SUMMARY_BYTES
) -> str:
    """Return the step summary: the verdict, and the table in Markdown.

    Args:
        report_json: the report.
        problem: as in `get_verdict`.
        room_bytes: what it may take in UTF-8; the rest is cut, and a sentence says so.

    Raises:
        UsageError: the report holds something that cannot be shown.
    """
    verdict = get_verdict(report_json, problem)
    lines = [f"### qgate: {verdict.upper()}", ""]
    if problem and verdict != report_json["verdict"]:
        lines += [escape_markdown(problem), ""]
    try:
        lines += [render_markdown(report_json), ""]
    except _DAMAGED as error:
        raise UsageError(
            f"report: cannot be shown: got {type(error).__name__} ({error}); "
            "expected a report that qgate wrote."
        ) from error
    return cut_lines("\n".join(lines), room_bytes, _CUT_NOTE)


def render_annotations(report_json: dict[str, Any], problem: str | None) -> list[str]:
    """Return the failing rows as workflow commands, each at the line of its limit; at most 9.

    Args:
        report_json: the report.
        problem: as in `get_verdict`; it is what is told where no single row failed.
    """
    failures = list(_find_failures(report_json))
    if not failures:
        return [_annotate("qgate", problem)] if problem else []
    most = _ANNOTATIONS if len(failures) <= _ANNOTATIONS else _ANNOTATIONS - 1
    shown = [_render_failure(failure) for failure in failures[:most]]
    if len(failures) > most:
        rest = f"and {len(failures) - most} more; see the summary of this run"
        shown.append(_annotate("qgate", rest))
    return shown


def render_output(name: str, value: str) -> str:
    """Return a step output as GITHUB_OUTPUT takes it; no value can end itself early."""
    delimiter = f"qgate-{uuid.uuid4()}"
    return f"{name}<<{delimiter}\n{value}\n{delimiter}\n"


def escape_data(text: str) -> str:
    """Return `text` as the message of a workflow command (`escapeData` of @actions/core)."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def escape_property(text: str) -> str:
    """Return `text` as a property of a workflow command (`escapeProperty` of @actions/core)."""
    return escape_data(text).replace(":", "%3A").replace(",", "%2C")


def _find_failures(report_json: dict[str, Any]) -> Iterator[_Failure]:
    for artifact in report_json["artifacts"]:
        causes: dict[str, list[dict[str, Any]]] = {}
        for check in artifact["checks"]:
            if _is_failing(check):
                cause = check["message"].removeprefix(f"{check['name']}: ")
                causes.setdefault(cause, []).append(check)
        for cause, checks in causes.items():
            yield _Failure(artifact_id=artifact["id"], cause=cause, checks=checks)


def _is_failing(check: dict[str, Any]) -> bool:
    if check["verdict"] == Verdict.SKIPPED.value:
        return check["limit"] is not None
    return bool(check["verdict"] != Verdict.PASS.value)


def _render_failure(failure: _Failure) -> str:
    first, last = failure.checks[0], failure.checks[-1]
    if len(failure.checks) == 1:
        text = first["message"]
    else:
        rows = f"{len(failure.checks)} rows: {first['name']} ... {last['name']}"
        text = f"{failure.cause} ({rows})"
    head = f"{failure.artifact_id}: "
    source = (first["limit"] or {}).get("source", "")
    return _annotate(
        f"qgate: {first['verdict'].upper()}", f"{head}{text.removeprefix(head)}", source
    )


def _annotate(title: str, message: str, source: str = "") -> str:
    """Return an `::error` command; `source` is `file:line`, left out where it is not."""
    properties = {"title": title}
    path, _, line = source.rpartition(":")
    if path and line.isascii() and line.isdigit():
        properties = {"file": path, "line": line, **properties}
    shown = ",".join(
        f"{name}={escape_property(escape_line(value[:_TITLE_LENGTH]))}"
        for name, value in properties.items()
    )
    # escaped characters take more room than plain ones: cut again
    text = escape_line(message[:_MESSAGE_LENGTH])[:_MESSAGE_LENGTH]
    return f"::error {shown}::{escape_data(text)}"
