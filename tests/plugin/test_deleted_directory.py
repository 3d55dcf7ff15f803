"""The directory that a run was started in is deleted before it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import gating, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

DELETING = """
import os, shutil
from pathlib import Path
def pytest_runtest_logfinish(nodeid):
    if os.environ["ROW"] in nodeid:
        here = Path.cwd()
        shutil.rmtree(here)
        if "TAKEN" in os.environ:
            here.write_text("a file")
"""


@pytest.fixture
def gate(project: Project, toys: Callable[..., Path]) -> Callable[..., Outcome]:
    plugins = project.directory.parent / "plugins"
    plugins.mkdir()
    (plugins / "deleting.py").write_text(DELETING)
    command = [script(), *gating(toys(good=Toy())), "-m", "integrity", "-p", "deleting"]
    return lambda **environ: project.run(command, PYTHONPATH=str(plugins), **environ)


@pytest.mark.parametrize("row", ["test_scheme", "test_chat_template"])
def test_the_run_goes_on_and_its_report_lies_where_it_was_to_lie(
    gate: Callable[..., Outcome], row: str
) -> None:
    """The first of the rows is in the middle, the second is the last."""
    seen = gate(ROW=row)

    assert seen.code == 0, seen.text
    assert "Traceback" not in seen.text
    assert f"warning: {seen.directory} was deleted during the run" in seen.lines
    passed = [row for row, verdict in seen.verdicts("good").items() if verdict == "pass"]
    assert len(passed) == 6
    assert "6 passed" in seen.lines[-1]


def test_where_it_cannot_be_made_again_the_table_is_shown_and_nothing_passes(
    gate: Callable[..., Outcome],
) -> None:
    seen = gate(ROW="test_chat_template", TAKEN="yes")

    assert seen.code == 1
    assert "Traceback" not in seen.text
    assert any(line.startswith("integrity.* (6 rows)") for line in seen.lines)
    (line,) = [line for line in seen.lines if line.startswith("report: ")]
    assert line.startswith(f"report: {seen.directory}/.qgate/report.json: the report cannot be")


@pytest.mark.parametrize("command", ["calibrate", "init"])
def test_a_command_in_a_deleted_directory_says_so_in_one_line(
    project: Project, toys: Callable[..., Path], command: str
) -> None:
    models = toys(good=Toy())
    gone = project.directory / "gone"
    gone.mkdir()
    steps = 'rmdir "$1" && exec "$2" "$3" "$4"'
    words = ["sh", "-c", steps, "sh", gone, script("qgate"), command, models]

    seen = project.run(words, cwd=gone)

    assert seen.code == 4
    assert seen.text == "qgate: the working directory was deleted. Run it in another one\n"
