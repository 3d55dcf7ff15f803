"""The report on disk: written whole or not at all, and read back with suspicion.

Writing goes through a temporary file in the same directory and a rename, so that a full disk or a
kill leaves the previous report intact. The form is strict JSON: no NaN, no Infinity, in or out.
"""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, UsageError
from qgate.records import (
    SCHEMA_VERSION,
    ArtifactReport,
    Estimate,
    Limit,
    Record,
    Report,
    SourceLine,
    Verdict,
)
from qgate.report.evidence import Evidence, FromStore, ReferenceFacts
from qgate.untrusted.json import Fields, NotJson, strict_json
from qgate.untrusted.text import seen

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_LINE = 18
"""Digits of the number of a line."""


def write(report: Report, path: Path) -> None:
    """Write the report.

    Raises:
        UsageError: the path cannot be written.
        MeasurementError: the report holds something that JSON has no word for, such as NaN.
    """
    write_json(report.to_json(), path)


def write_json(report_json: dict[str, Any], path: Path) -> None:
    """Write any JSON, as `write` does a report."""
    try:
        text = json.dumps(report_json, ensure_ascii=False, allow_nan=False, indent=2)
        # a lone surrogate, from a file name that is no UTF-8, is written as its JSON escape
        data = f"{text}\n".encode(errors="backslashreplace")
    except (ValueError, TypeError) as error:
        where, value = _find_unstorable(report_json, "report") or ("report", error)
        raise MeasurementError(
            f"{where}: cannot be stored: got {value!r}; expected texts, finite numbers, booleans, "
            "null, lists or objects. This is a bug in the check that made it."
        ) from error
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        _refuse_wrong_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _remove(temporary)
        raise _describe_unwritable(path, error) from error


def check_writable(path: Path) -> None:
    """Find out before the run, not after it, whether the report can be written.

    Raises:
        UsageError: it cannot.
    """
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        _refuse_wrong_place(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
    except OSError as error:
        raise _describe_unwritable(path, error) from error
    _remove(probe)


def read(path: Path) -> Report:
    """Read a report that may be anything, and check all that its readers rely on.

    Raises:
        UsageError: not a report of this schema version; one line.
    """
    return read_report(read_json(path), str(path))


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON
    """What `read` checks, with the keys that this version does not know.

    Raises:
        UsageError: not JSON; one line.
    """
    try:
        return strict_json(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; expected a report that qgate wrote."
        ) from error
    except NotJson as error:
        raise UsageError(f"{path}: {error}. Name a report that qgate wrote.") from error


def read_report(value: object, where: str) -> Report:
    """The inverse of `Report.to_json`.

    Args:
        value: JSON.
        where: what messages begin with.

    Raises:
        UsageError: not a report of this schema version; one line.
    """
    if not isinstance(value, dict) or "schema_version" not in value:
        raise UsageError(
            f"{where}: is not a report: got no schema_version; expected a report that qgate wrote."
        )
    version = value["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UsageError(
            f"{where}: schema_version: got {seen(version)}; expected {SCHEMA_VERSION}. "
            "Read it with the qgate that wrote it."
        )
    report = Fields(value, where, UsageError)
    verdict: Verdict = report.get("verdict", Verdict)
    report.inner("reference").read(ReferenceFacts)
    sections = ("environment", "reference", "thresholds", "mlflow")
    return Report(
        verdict=verdict,
        artifacts=tuple(map(_read_artifact, report.objects("artifacts"))),
        **{name: report.inner(name).values for name in sections},
    )


def _read_artifact(artifact: Fields) -> ArtifactReport:
    if artifact.has("from_store"):
        artifact.inner("from_store").read(FromStore)
    records = tuple(map(read_record, artifact.objects("checks")))
    return artifact.read(ArtifactReport, records=records)


def read_record(row: Fields) -> Record:
    """The inverse of `Record.to_json`.

    Raises:
        UsageError: a field is missing, or something else than a record has.
    """
    row.inner("details").read(Evidence)
    return row.read(
        Record,
        estimate=row.read(Estimate) if row.has("value") else None,
        limit=_read_limit(row.get("name", str), row.inner("limit")) if row.has("limit") else None,
    )


def _read_limit(check: str, limit: Fields) -> Limit:
    source: str = limit.get("source", str)
    path, _, line = source.rpartition(":")
    if not (path and line.isascii() and line.isdigit() and len(line) <= _LONGEST_LINE):
        raise limit.error(f"source: got {seen(source)}; expected FILE:LINE")
    line_of = SourceLine(path, int(line), limit.get("is_shipped", bool, default=False))
    return limit.read(Limit, check=check, source=line_of)


def _find_unstorable(value: object, where: str) -> tuple[str, object] | None:
    if isinstance(value, dict):
        children = [(f"{where}.{name}", child) for name, child in value.items()]
    elif isinstance(value, list | tuple):
        children = [(f"{where}[{number}]", child) for number, child in enumerate(value)]
    elif value is None or isinstance(value, str | bool | int):
        return None
    else:
        is_stored = isinstance(value, float) and math.isfinite(value)
        return None if is_stored else (where, value)
    found = (_find_unstorable(child, path) for path, child in children)
    return next((hit for hit in found if hit is not None), None)


def _refuse_wrong_place(path: Path) -> None:
    got = None
    if path.is_dir():
        got = "a directory"
    elif path.parent.exists() and not path.parent.is_dir():
        got = "a path inside a file"
    if got is not None:
        raise UsageError(
            f"{path}: the report cannot be written: got {got}; expected a file. "
            "Name another one with --qgate-json FILE."
        )


def _describe_unwritable(path: Path, error: OSError) -> UsageError:
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    remedy = "Free space there, or name another one" if is_full else "Name another one"
    return UsageError(
        f"{path}: the report cannot be written: got {error.strerror}; expected a writable file. "
        f"{remedy} with --qgate-json FILE."
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its directory is not one, or has gone
        return
