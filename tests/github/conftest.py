"""A workspace for the scripts, and a `pytest` on PATH that notes what it was asked."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.report.report_file import write
from tests.github.runner import Runner
from tests.report import conftest as reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Report

report, passing, path = reports.report, reports.passing, reports.report_path
_OURS = ("PYTEST_", "PYTHON", "MLFLOW_", "GITHUB_", "CI", "COVERAGE_PROCESS", "QGATE_")
_STUB = """#!/bin/bash
printf '%s\\0' "$@" > "$STUB_ARGUMENTS"
if [ -n "$STUB_REPORT" ]; then
  mkdir -p -- "$(dirname -- "$QGATE_REPORT")"
  cp -- "$STUB_REPORT" "$QGATE_REPORT"
fi
exit "$STUB_CODE"
"""


@pytest.fixture(scope="session", autouse=True)
def _is_installed() -> None:
    if not entry_points(group="pytest11", name="qgate"):
        pytest.fail("these tests need the plugin installed: pip install --no-deps -e .")


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """An empty workspace; this run's own CI facts do not reach it."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    tools = os.pathsep.join((str(Path(sys.executable).parent), kept["PATH"]))
    return Runner(workspace=workspace, environ={**kept, "PATH": tools})


@dataclass(frozen=True, kw_only=True)
class Stub:
    """The runner with a `pytest` that only notes its arguments and ends as it was told."""

    runner: Runner
    noted: Path

    @property
    def arguments(self) -> list[str] | None:
        """None where it was not started."""
        if not self.noted.exists():
            return None
        return self.noted.read_bytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


@pytest.fixture
def stubbed(runner: Runner, tmp_path: Path) -> Callable[..., Stub]:
    """stubbed(code, report) -> pytest ends with `code` after it wrote `report`, if any."""

    def make(code: int = 0, report: Report | None = None) -> Stub:
        tools = tmp_path / "tools"
        tools.mkdir()
        script = tools / "pytest"
        script.write_text(_STUB, encoding="utf-8")
        script.chmod(0o755)
        ready = tmp_path / "ready.json"
        if report is not None:
            write(report, ready)
        noted = tmp_path / "arguments"
        environ = {
            **runner.environ,
            "PATH": os.pathsep.join((str(tools), runner.environ["PATH"])),
            "STUB_ARGUMENTS": str(noted),
            "STUB_REPORT": str(ready) if report is not None else "",
            "STUB_CODE": str(code),
        }
        return Stub(runner=Runner(workspace=runner.workspace, environ=environ), noted=noted)

    return make
