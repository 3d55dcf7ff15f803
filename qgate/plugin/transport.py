"""How a row's record travels: on its test's report, where JUnit, xdist and the account find it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from qgate.errors import QGateError
from qgate.plugin.rows import row_of
from qgate.records import Record, Verdict

_RESULT, _VERDICT = "qgate.result", "qgate.verdict"


def attach(
    item: pytest.Item, artifact_id: str, record: Record, subject: dict[str, Any] | None
) -> None:
    """Put a record on its test.

    Args:
        item: the row's test.
        artifact_id: what it was a row of.
        record: what came of it.
        subject: what is known of the artifact and the reference beside the row; JSON values.
    """
    result = {"artifact": artifact_id, "record": record.to_json(), "subject": subject}
    item.user_properties.append((_VERDICT, record.verdict.value))
    item.user_properties.append((_RESULT, json.dumps(result, allow_nan=False)))


def attach_failure(
    item: pytest.Item, report: pytest.TestReport, excinfo: pytest.ExceptionInfo[BaseException]
) -> None:
    """Give a row that ended without a record one that says why; keep the child's last words.

    What else the report tells are the exception's `qgate_details`, and `qgate_limit` of a row that
    was skipped although it has one.
    """
    name, artifact = row_of(item)
    has_record = any(key == _RESULT for key, _ in item.user_properties)
    if name and artifact and not has_record:
        verdict = Verdict.SKIPPED if report.skipped else Verdict.ERROR
        error = excinfo.value
        record = Record(
            name=name,
            verdict=verdict,
            message=_one_line(error),
            limit=getattr(error, "qgate_limit", None),
            details=getattr(error, "qgate_details", {}),
        )
        attach(item, artifact.id, record, None)
        report.user_properties = list(item.user_properties)
    for note in getattr(excinfo.value, "__notes__", ()):
        report.sections.append(("runtime's last words", note))


def read(report: pytest.TestReport) -> dict[str, Any] | None:
    """What `attach` put there; None for a test that is no row."""
    for key, value in report.user_properties:
        if key == _RESULT:
            result: dict[str, Any] = json.loads(str(value))
            return result
    return None


def point_at_limit(report: pytest.TestReport) -> None:
    """A failed row's location is its limit's line, so that annotations and editors open that."""
    result = read(report) if report.failed else None
    limit = result and result["record"]["limit"]
    if limit:
        path, _, line = limit["source"].rpartition(":")
        report.location = (path, int(line) - 1, report.location[2])


def _one_line(error: BaseException) -> str:
    own = isinstance(error, (QGateError, pytest.fail.Exception, pytest.skip.Exception))
    text = str(error) if own else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
