"""The files of one session among those of others: whose the named one is, and who was killed."""

from __future__ import annotations

import dataclasses
import errno
import fcntl
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from qgate.report import session_files
from qgate.report.report_file import read_json, write_json
from qgate.report.session_files import (
    SessionFiles,
    find_unfinished,
    own_file,
    take_over_upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest

    from qgate.records import Report

FIRST, SECOND = ("6a1c2d3e-0000-4000-8000-000000000001", "7b1c2d3e-0000-4000-8000-000000000002")
STARTED = {FIRST: "2026-01-01T00:00:00+00:00", SECOND: "2026-01-01T00:00:05+00:00"}


def begin(named: Path, session_id: str) -> SessionFiles:
    directory = named.parent if named.parent.name == "project" else named.parent / "project"
    files = SessionFiles(named, directory, environment_of(session_id))
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


# --- whose mark -----------------------------------------------------------------------------------


def kill(files: SessionFiles) -> None:
    """What the kernel does to its lock."""
    assert files._held is not None
    os.close(files._held)


def test_a_report_of_the_same_name_elsewhere_is_not_unfinished(tmp_path: Path) -> None:
    here, elsewhere = (tmp_path / place / "report.json" for place in ("", ".qgate"))
    begun = SessionFiles(here, tmp_path / "project", environment_of(FIRST))
    begun.check()
    begun.begin()
    elsewhere.parent.mkdir(exist_ok=True)
    assert find_unfinished(here) is None

    kill(begun)

    assert find_unfinished(here) is not None
    assert find_unfinished(elsewhere) is None
    assert find_unfinished(here.with_name("other.json")) is None


def test_what_a_killed_gate_left_is_its_report_or_else_its_mark(
    passing: Report, tmp_path: Path
) -> None:
    named = tmp_path / "report.json"
    early, late = begin(named, FIRST), begin(tmp_path / "other.json", SECOND)
    late.keep(of(passing, SECOND))
    kill(early)
    kill(late)

    left = find_unfinished(named)

    assert left is not None
    assert left.exists()
    assert left.suffix == ".running"
    assert find_unfinished(tmp_path / "other.json") == late.own


def test_nothing_lies_beside_a_named_report_but_the_mark_of_its_gate(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a directory of everybody's nobody finds his reports in what another has made."""
    named = tmp_path / "shared" / "x.json"
    files = SessionFiles(named, tmp_path / "project", environment_of(FIRST))
    files.check()
    files.begin()
    [mark] = named.parent.iterdir()
    files.end(of(passing, FIRST))

    assert mark.name == f".x.json.{files.own.stem}.running"
    assert list(named.parent.iterdir()) == [named]
    assert files.own.parent == tmp_path / "project" / ".qgate" / "reports"
    monkeypatch.chdir(tmp_path / "project")
    assert own_file(named).samefile(files.own)
    monkeypatch.chdir(tmp_path)
    assert own_file(named) == named


def test_a_report_named_elsewhere_is_enough_where_nothing_can_be_written(
    passing: Report, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / ".qgate").write_text("in its place")
    named = tmp_path / "out" / "report.json"
    files = SessionFiles(named, project, environment_of(FIRST))

    assert files.check() == []
    files.begin()
    files.end(of(passing, FIRST))

    assert session_in(named) == FIRST
    assert files.newest == named
    assert "got Not a directory" in files.own_problem


def flock_of_nfs(file: int, how: int, flock: Callable[[int, int], None] = fcntl.flock) -> None:
    """It locks for oneself only what may be written, and for all only what may be read."""
    mode = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE
    refused = os.O_RDONLY if how & fcntl.LOCK_EX else os.O_WRONLY
    if mode == refused:
        raise OSError(errno.EBADF, "Bad file descriptor")
    flock(file, how)


def test_on_nfs_a_running_gates_mark_stays_and_a_killed_ones_is_found(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fcntl.flock", flock_of_nfs)
    named = tmp_path / "report.json"
    first, second = begin(named, FIRST), begin(named, SECOND)

    second.end(of(passing, SECOND))
    assert find_unfinished(named) is None  # it runs
    kill(first)

    assert find_unfinished(named) is not None


def test_without_locks_a_gate_that_runs_may_have_been_killed(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    named = tmp_path / "report.json"
    before = count_open()
    first, second = begin(named, FIRST), begin(named, SECOND)
    assert find_unfinished(named) is not None

    first.end(of(passing, FIRST))
    assert find_unfinished(named) is not None  # the second has not put its report there

    second.end(of(passing, SECOND))
    assert find_unfinished(named) is None
    assert count_open() == before


def count_open() -> int:
    with os.scandir("/proc/self/fd") as listing:
        return len(list(listing))


def test_who_looks_at_a_mark_hides_it_from_nobody(tmp_path: Path) -> None:
    named = tmp_path / "report.json"
    kill(begin(named, FIRST))
    [mark] = tmp_path.glob(".report.json.*.running")

    with mark.open("rb+") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_EX)
        looking = threading.Thread(target=lambda: (time.sleep(0.1), looked_at.close()))
        looking.start()
        assert find_unfinished(named) is not None
        looking.join()


# --- what is kept ---------------------------------------------------------------------------------


def test_sessions_that_were_not_uploaded_are_kept_up_to_a_bound_which_is_said(
    tmp_path: Path,
) -> None:
    files = SessionFiles(tmp_path / "report.json", tmp_path, environment_of(FIRST))
    reports = files.own.parent
    reports.mkdir(parents=True)
    names = [f"20250101T{number:06}Z-1-0000000a.json" for number in range(503)]
    for number, name in enumerate(names):
        text = json.dumps({"mlflow": {"uploaded": number == 100}})
        (reports / name).write_text(text)

    said = files.check()

    assert sorted(path.name for path in reports.iterdir()) == [*names[3:100], *names[101:]]
    assert said == [
        f"reports: {reports}: got more than 500 sessions; dropped the oldest, 3 of them never"
        f" uploaded: {', '.join(names[:3])}"
    ]
    assert files.check() == []
