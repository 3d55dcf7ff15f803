"""What GitHub Actions is told of a report: step summary, annotations and outputs, as text.

Pure: `python -m qgate summary` reads the report and writes the files. The bounds are those of
GitHub's runner (actions/runner, 2.33x): a summary of more than 1 MiB is dropped as a whole; of one
step 10 errors are kept, each cut to 4 096 characters. Texts of an artifact are escaped for the
place where they go: Markdown, a command's message or its properties.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.records import Verdict
from qgate.report.table import render_markdown
from qgate.report.text import cut_lines, escape_line, escape_markdown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.records import Record, Report, SourceLine

SUMMARY_BYTES = 1_000_000
"""Of GitHub's 1 048 576; the runner counts what other commands of the step wrote as well."""
_ANNOTATIONS = 9
"""Of GitHub's 10: the failing step's own `Process completed with exit code 1` is one of them."""
_TITLE_LENGTH = 200
_MESSAGE_LENGTH = 4000
_CUT_NOTE = (
    "\n\nCut here: GitHub shows 1 MiB. The whole table is in the report that the run uploads."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failure:
    """One cause; rows of an artifact that share it are told once."""

    artifact_id: str
    cause: str
    records: Sequence[Record]


def get_verdict(report: Report, problem: str | None) -> str:
    """Return the verdict that a workflow may compare: one of the report's words.

    Args:
        report: what is shown.
        problem: why `verify` refuses it; None where it holds. A report that calls itself a pass
            all the same contradicts itself, which is an error.
    """
    is_contradiction = problem is not None and report.verdict is Verdict.PASS
    return (Verdict.ERROR if is_contradiction else report.verdict).value


def render_summary(report: Report, problem: str | None, room_bytes: int = SUMMARY_BYTES) -> str:
    """Return the step summary: the verdict, and the table in Markdown.

    Args:
        report: what is shown.
        problem: as in `get_verdict`.
        room_bytes: what it may take in UTF-8; the rest is cut, and a sentence says so.
    """
    verdict = get_verdict(report, problem)
    lines = [f"### qgate: {verdict.upper()}", ""]
    if problem and verdict != report.verdict.value:
        lines += [escape_markdown(problem), ""]
    lines += [render_markdown(report), ""]
    return cut_lines("\n".join(lines), room_bytes, _CUT_NOTE)


def render_annotations(report: Report, problem: str | None) -> list[str]:
    """Return the failing rows as workflow commands, each at the line of its limit; at most 9.

    Args:
        report: what is shown.
        problem: as in `get_verdict`; it is what is told where no single row failed.
    """
    failures = list(_find_failures(report))
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


def _find_failures(report: Report) -> Iterator[_Failure]:
    for artifact in report.artifacts:
        causes: dict[str, list[Record]] = {}
        for record in artifact.records:
            if _is_failing(record):
                cause = record.message.removeprefix(f"{record.name}: ")
                causes.setdefault(cause, []).append(record)
        for cause, records in causes.items():
            yield _Failure(artifact_id=artifact.id, cause=cause, records=records)


def _is_failing(record: Record) -> bool:
    if record.verdict is Verdict.SKIPPED:
        return record.limit is not None
    return record.verdict is not Verdict.PASS


def _render_failure(failure: _Failure) -> str:
    first, last = failure.records[0], failure.records[-1]
    if len(failure.records) == 1:
        text = first.message
    else:
        rows = f"{len(failure.records)} rows: {first.name} ... {last.name}"
        text = f"{failure.cause} ({rows})"
    head = f"{failure.artifact_id}: "
    source = first.limit.source if first.limit else None
    title = f"qgate: {first.verdict.value.upper()}"
    return _annotate(title, f"{head}{text.removeprefix(head)}", source)


def _annotate(title: str, message: str, source: SourceLine | None = None) -> str:
    """Return an `::error` command, at a line where there is one."""
    properties = {"title": title}
    if source:
        properties = {"file": source.path, "line": str(source.line), **properties}
    shown = ",".join(
        f"{name}={escape_property(escape_line(value[:_TITLE_LENGTH]))}"
        for name, value in properties.items()
    )
    # escaped characters take more room than plain ones: cut again
    text = escape_line(message[:_MESSAGE_LENGTH])[:_MESSAGE_LENGTH]
    return f"::error {shown}::{escape_data(text)}"
