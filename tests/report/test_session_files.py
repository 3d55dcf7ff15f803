"""The files of one session among those of others: whose the named one is, and who was killed."""

from __future__ import annotations

import dataclasses
import threading
from typing import TYPE_CHECKING, Any

from qgate.report import session_files
from qgate.report.report_file import read_json, write_json
from qgate.report.session_files import SessionFiles, take_over_upload

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from qgate.records import Report

FIRST, SECOND = ("6a1c2d3e-0000-4000-8000-000000000001", "7b1c2d3e-0000-4000-8000-000000000002")
STARTED = {FIRST: "2026-01-01T00:00:00+00:00", SECOND: "2026-01-01T00:00:05+00:00"}


def begin(named: Path, session_id: str) -> SessionFiles:
    files = SessionFiles(named, environment_of(session_id))
    files.check()
    files.begin()
    return files


def environment_of(session_id: str) -> dict[str, Any]:
    return {"session_id": session_id, "started_at": STARTED[session_id]}


def of(report: Report, session_id: str) -> Report:
    known = {**report.environment, **environment_of(session_id)}
    return dataclasses.replace(report, environment=known)


def session_in(path: Path) -> str:
    found: str = read_json(path)["environment"]["session_id"]
    return found


def test_a_gate_that_ends_while_an_upload_is_written_down_has_the_named_report(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = tmp_path / "report.json"
    first, second = begin(named, FIRST), begin(named, SECOND)
    first.end(of(passing, FIRST))
    ending = threading.Thread(target=second.end, args=[of(passing, SECOND)])

    def write_late(value: dict[str, Any], path: Path) -> None:
        ending.start()
        ending.join(1.0)
        write_json(value, path)

    monkeypatch.setattr(session_files, "write_json", write_late)
    take_over_upload(first.own, named)
    ending.join()

    assert session_in(named) == SECOND
    assert [path.name for path in tmp_path.glob(".*.lock")] == []
