"""The report on disk: written whole or not at all, and read back with suspicion.

Writing goes through a temporary file in the same directory and a rename, so that a full disk or a
kill leaves the previous report intact. The form is strict JSON: no NaN, no Infinity, in or out.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError, UsageError
from qgate.records import SCHEMA_VERSION, Report

if TYPE_CHECKING:
    from pathlib import Path

_FIELDS: dict[str, type] = {
    "verdict": str,
    "environment": dict,
    "reference": dict,
    "thresholds": dict,
    "artifacts": list,
    "mlflow": dict,
}
_ARTIFACT_FIELDS: dict[str, type] = {
    "id": str,
    "scheme": str,
    "size_bytes": int,
    "verdict": str,
    "measured": dict,
    "checks": list,
}
_CHECK_FIELDS: dict[str, type] = {"name": str, "verdict": str, "message": str, "details": dict}
_NUMBERS = ("value", "low", "high", "level", "n")
_NULLABLE = (*_NUMBERS, "unit", "method", "limit")


def write(report: Report, path: Path) -> None:
    """Write the report.

    Raises:
        UsageError: the path cannot be written.
        MeasurementError: the report holds something that JSON has no word for, such as NaN.
    """
    write_json(report.to_json(), path)


def write_json(report_json: dict[str, Any], path: Path) -> None:
    """Write a report that is JSON already; otherwise as `write`."""
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
    _refuse_wrong_place(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
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
    _refuse_wrong_place(path)
    probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe.touch(exist_ok=False)
    except OSError as error:
        raise _describe_unwritable(path, error) from error
    _remove(probe)


def read(path: Path) -> dict[str, Any]:
    """Read a report and check that everything is there which its readers rely on.

    Raises:
        UsageError: not a report of this schema version.
    """
    try:
        report = json.loads(
            path.read_bytes(), parse_constant=_refuse_constant, parse_float=_parse_finite
        )
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: {error.strerror}; expected a report that qgate wrote."
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: is not JSON: got {error}; expected a report that qgate wrote."
        ) from error
    _check_report(path, report)
    assert isinstance(report, dict)
    return report


def _check_report(path: Path, report: object) -> None:
    if not isinstance(report, dict) or "schema_version" not in report:
        raise UsageError(
            f"{path}: is not a report: got no schema_version; expected a report that qgate wrote."
        )
    version = report["schema_version"]
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise UsageError(
            f"{path}: schema_version: got {version!r}; expected {SCHEMA_VERSION}. "
            "Read it with the qgate that wrote it."
        )
    _check_fields(f"{path}: report", report, _FIELDS)
    for number, artifact in enumerate(report["artifacts"]):
        where = f"{path}: artifacts[{number}]"
        _check_fields(where, artifact, _ARTIFACT_FIELDS)
        for row_number, row in enumerate(artifact["checks"]):
            _check_row(f"{where}.checks[{row_number}]", row)


def _check_row(where: str, row: object) -> None:
    _check_fields(where, row, _CHECK_FIELDS)
    assert isinstance(row, dict)
    for name in _NULLABLE:
        if name not in row:
            raise UsageError(f"{where}: {name} is missing; expected a number, a text or null.")
    for name in _NUMBERS:
        if row[name] is not None and not _is_number(row[name]):
            raise UsageError(f"{where}: {name}: got {row[name]!r}; expected a number or null.")
    if row["limit"] is not None:
        _check_fields(f"{where}.limit", row["limit"], {"rule": str, "source": str})


def _check_fields(where: str, value: object, fields: dict[str, type]) -> None:
    if not isinstance(value, dict):
        raise UsageError(f"{where}: got {type(value).__name__}; expected an object.")
    for name, kind in fields.items():
        if name not in value:
            raise UsageError(f"{where}: {name} is missing; expected {_name_kind(kind)}.")
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            raise UsageError(
                f"{where}: {name}: got {value[name]!r:.60}; expected {_name_kind(kind)}."
            )


def _name_kind(kind: type) -> str:
    return {dict: "an object", list: "a list", str: "a text", int: "an integer"}[kind]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _parse_finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {text}")
    return number


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
    return UsageError(
        f"{path}: the report cannot be written: got {error.strerror}; expected a writable file. "
        "Name another one with --qgate-json FILE."
    )


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # its directory is not one, or has gone
        return
