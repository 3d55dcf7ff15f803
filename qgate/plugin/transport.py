"""How a row travels: on its test, then on the test's report to JUnit, xdist and the ledger."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError, QGateError
from qgate.gate.row import Subject
from qgate.plugin.rows import row_of
from qgate.records import Record, Verdict
from qgate.report.report_file import read_record
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.records import Artifact, Limit

_RESULT, _VERDICT = "qgate.result", "qgate.verdict"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row of an artifact, as its test ended."""

    artifact_id: str
    record: Record
    subject: Subject | None = None
    """What is known of the artifact and the reference besides; None where nothing was served."""

    def to_json(self) -> dict[str, Any]:
        return {
            "artifact": self.artifact_id,
            "record": self.record.to_json(),
            "subject": self.subject and dataclasses.asdict(self.subject),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Row:
        """The inverse of `to_json`."""
        fields = Fields(value, "row", MeasurementError)
        return cls(
            artifact_id=fields.get("artifact", str),
            record=read_record(fields.inner("record")),
            subject=fields.inner("subject").read(Subject) if fields.has("subject") else None,
        )


_ROW = pytest.StashKey[Row]()


def attach(item: pytest.Item, row: Row) -> None:
    """Put a row on its test."""
    item.stash[_ROW] = row


def attach_failure(
    item: pytest.Item,
    report: pytest.TestReport,
    error: BaseException,
    limits: Callable[[Artifact], Mapping[str, Limit]],
) -> None:
    """Give a test that ended without a row one that says why; keep the child's last words.

    A row that holds is an error where its test fails afterwards: what the test asks is not met.

    Args:
        item: the row's test.
        report: of one of its phases.
        error: what ended it. Where pytest's own failure or skip took the place of one of qgate's
            errors, that error is its context, and holds what else the report shows.
        limits: of an artifact; a row that was skipped is shown with the one that it has.
    """
    name, artifact = row_of(item)
    row = item.stash.get(_ROW, None)
    if row is not None and report.failed and row.record.verdict in (Verdict.PASS, Verdict.SKIPPED):
        line = f"{row.record.name}: its test failed after the row was judged: {_one_line(error)}"
        failed = replace(row.record, verdict=Verdict.ERROR, message=line)
        attach(item, replace(row, record=failed))
    elif name and artifact and row is None:
        cause = error if isinstance(error, QGateError) else error.__context__
        record = Record(
            name=name,
            verdict=Verdict.SKIPPED if report.skipped else Verdict.ERROR,
            message=_one_line(error),
            limit=limits(artifact).get(name) if report.skipped else None,
            details=dict(cause.details) if isinstance(cause, QGateError) else {},
        )
        attach(item, Row(artifact_id=artifact.id, record=record))
    for note in getattr(error, "__notes__", ()):
        report.sections.append(("runtime's last words", note))


def send(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put the test's row on its report, in the one form that xdist and JUnit take: text.

    A failed row's location is its limit's line, so that annotations and editors open that. A row
    that cannot be stored is an error, and its test fails.
    """
    row, own = item.stash.get(_ROW, None), []
    if row is not None:
        try:
            text = _write(row)
        except (QGateError, ValueError, TypeError, RecursionError) as error:
            name = row.record.name
            line = f"{name}: the row cannot be stored: {_one_line(error)}"
            row = Row(
                artifact_id=row.artifact_id,
                record=Record(name=name, verdict=Verdict.ERROR, message=line),
            )
            attach(item, row)
            text = _write(row)
            report.outcome, report.longrepr = "failed", line
        own = [(_VERDICT, row.record.verdict.value), (_RESULT, text)]
    others = [pair for pair in item.user_properties if pair[0] not in (_RESULT, _VERDICT)]
    item.user_properties = [*others, *own]
    report.user_properties = list(item.user_properties)
    if row is not None and report.failed and row.record.limit:
        source = row.record.limit.source
        report.location = (source.path, source.line - 1, report.location[2])


def _write(row: Row) -> str:
    """A row as text that can be read again."""
    text = json.dumps(row.to_json(), allow_nan=False)
    Row.from_json(json.loads(text))
    return text


def receive(report: pytest.TestReport) -> Row | None:
    """What `send` put there; None for a test that is no row."""
    texts = [str(value) for name, value in report.user_properties if name == _RESULT]
    return Row.from_json(json.loads(texts[0])) if texts else None


def _one_line(error: BaseException) -> str:
    own = isinstance(error, (QGateError, pytest.fail.Exception, pytest.skip.Exception))
    text = str(error) if own else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
