"""What cannot be written costs a line and the exit code, and never the table or a traceback."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import gating, script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

INTEGRITY = ("-m", "integrity")
FILLING = """
import os
from pathlib import Path
rows = []
def pytest_runtest_logreport(report):
    if report.when != "call":
        return
    rows.append(report.nodeid)
    if len(rows) == 1:
        with open(".qgate/filler", "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(512))
            except OSError:
                pass
    if len(rows) == 4:
        Path(".qgate/filler").unlink()
"""
THEIRS = """
import pytest
@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish():
    with open(".qgate/theirs", "wb") as file:
        file.write(bytes(100_000))
    return (yield)
"""
"""Writes as pytest-benchmark does: before all that others do at the end."""
LOCKING = """
import subprocess
def pytest_runtest_logreport(report):
    if report.when == "call" and "test_files" in report.nodeid:
        subprocess.run(["mount", "-o", "remount,ro", ".qgate"], check=True)
"""
REPLACING = """
import shutil
from pathlib import Path
def pytest_runtest_logreport(report):
    if report.when == "call" and "test_files" in report.nodeid:
        shutil.rmtree(".qgate")
        Path(".qgate").write_text("in its place")
"""


@pytest.fixture
def small_disk() -> Callable[[str, Sequence[object]], list[str]]:
    """small_disk(size, command) -> the command, with a disk of this size at `.qgate`.

    The named report is copied to `copied.json` before the disk goes with the command.
    """
    command = ["unshare", "-m", "--", "mount", "-t", "tmpfs", "none", "/mnt"]
    if shutil.which("unshare") is None or subprocess.run(command, check=False).returncode != 0:
        pytest.skip("needs a private mount namespace, which only root may make here")
    steps = (
        'mkdir -p .qgate && mount -t tmpfs -o size="$1" none .qgate && shift && "$@"; code=$?;'
        " cp .qgate/report.json copied.json 2>/dev/null; exit $code"
    )
    return lambda size, words: ["unshare", "-m", "sh", "-c", steps, "sh", size, *map(str, words)]


def gate(project: Project, models: Path, *arguments: str) -> list[str]:
    store = project.directory.parent / "store"
    return [str(script()), *gating(models), *INTEGRITY, f"--qgate-store={store}", *arguments]


def check_all_is_shown(seen: Outcome, code: int) -> None:
    assert seen.code == code, seen.text
    assert "INTERNALERROR" not in seen.text
    assert "Traceback" not in seen.text
    assert "6 passed" in seen.out.splitlines()[-1]
    assert any(line.startswith("integrity.* (6 rows)") for line in seen.lines)


def test_a_report_that_the_disk_has_no_room_for_fails_the_run_in_one_line(
    project: Project, toys: Callable[..., Path], small_disk: Callable[..., list[str]]
) -> None:
    seen = project.run(small_disk("4k", gate(project, toys(good=Toy()))))

    check_all_is_shown(seen, 1)
    assert [line for line in seen.lines if "No space left" in line] == [
        f"report: {project.directory}/.qgate/report.json: the report cannot be written: got No"
        " space left on device; expected a writable file. Free space there, or name another one"
        " with --qgate-json FILE."
    ]
    assert "mlflow: not uploaded (the report is not on the disk)" in seen.lines


def test_a_disk_that_is_full_for_a_while_costs_nothing(
    project: Project, toys: Callable[..., Path], small_disk: Callable[..., list[str]]
) -> None:
    project.write("filling.py", FILLING)
    command = gate(project, toys(good=Toy()), "-p", "filling")

    seen = project.run(small_disk("256k", command), PYTHONPATH=str(project.directory))

    check_all_is_shown(seen, 0)
    assert "No space left" not in seen.text
    rows = {row["name"]: row for row in seen.report("copied.json")["artifacts"][0]["checks"]}
    passed = [name for name, row in rows.items() if row["verdict"] == "pass"]
    assert len(passed) == 6


def test_a_disk_that_becomes_read_only_fails_the_run_in_one_line(
    project: Project, toys: Callable[..., Path], small_disk: Callable[..., list[str]]
) -> None:
    project.write("locking.py", LOCKING)
    command = gate(project, toys(good=Toy()), "-p", "locking")

    seen = project.run(small_disk("256k", command), PYTHONPATH=str(project.directory))

    check_all_is_shown(seen, 1)
    (line,) = [line for line in seen.lines if "Read-only file system" in line]
    assert line.startswith(f"report: {project.directory}/.qgate/report.json: ")
    assert line.endswith("Name another one with --qgate-json FILE.")


def test_a_directory_that_a_file_takes_the_place_of_fails_the_run_in_one_line(
    project: Project, toys: Callable[..., Path]
) -> None:
    project.write("replacing.py", REPLACING)

    seen = project.run(
        gate(project, toys(good=Toy()), "-p", "replacing"), PYTHONPATH=str(project.directory)
    )

    check_all_is_shown(seen, 1)
    (line,) = [line for line in seen.lines if line.startswith("report: ")]
    assert line.startswith(
        f"report: {project.directory}/.qgate/report.json: the report cannot be written: got a path"
        " inside a file"
    )


def test_a_named_report_is_enough(
    project: Project, toys: Callable[..., Path], small_disk: Callable[..., list[str]]
) -> None:
    """The session's own file, beside it in `.qgate`, finds no room."""
    command = gate(project, toys(good=Toy()), "--qgate-json=report.json")

    seen = project.run(small_disk("4k", command))

    check_all_is_shown(seen, 0)
    (line,) = [line for line in seen.lines if "No space left" in line]
    assert line.startswith(f"warning: {project.directory}/.qgate/reports/")
    assert "report: report.json" in seen.lines
    assert seen.report("report.json")["mlflow"]["uploaded"] is False


@pytest.mark.parametrize(
    ("option", "module"), [("--junitxml=.qgate/junit.xml", "_pytest.junitxml"), ("-v", "theirs")]
)
def test_another_plugins_file_that_cannot_be_written_leaves_report_and_table(
    project: Project,
    toys: Callable[..., Path],
    small_disk: Callable[..., list[str]],
    option: str,
    module: str,
) -> None:
    project.write("filling.py", FILLING.replace("== 4", "== 0"))  # full to the end
    project.write("theirs.py", THEIRS if module == "theirs" else "")
    plugins = ("-p", "filling", "-p", "theirs")
    command = gate(project, toys(good=Toy()), option, "--qgate-json=out/report.json", *plugins)

    seen = project.run(small_disk("16k", command), PYTHONPATH=str(project.directory))

    check_all_is_shown(seen, 1)
    assert f"{module}: its file: cannot be written: got No space left on device; expected" in (
        seen.text
    )
    (artifact,) = seen.report("out/report.json")["artifacts"]
    assert [row["verdict"] for row in artifact["checks"]].count("pass") == 6
    assert seen.report("out/report.json")["mlflow"]["uploaded"] is False
