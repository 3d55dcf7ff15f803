"""What a runtime imports is compiled once, before a child that could not keep it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.runtimes.confined.bytecode import compile_once
from qgate.runtimes.environment import child_environment

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An environment whose installer compiled nothing."""
    place = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (site,) = place.glob("lib/python3*/site-packages")
    (site / "big").mkdir()
    (site / "big" / "__init__.py").write_text("import os; STARTED = open(os.environ['LOG'], 'a')")
    (site / "big" / "models.py").write_text("import big\nbig.STARTED.write('x')\n")
    return place / "bin" / "python"


def test_it_is_imported_once_for_all_runs(python: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    environment = {**child_environment({}), "LOG": str(log)}

    for _ in range(2):
        compile_once(str(python), ["big.models", "absent"], environment)

    assert log.read_text() == "x"
    kept = python.parents[1].glob("lib/python3*/site-packages/big/__pycache__/*")
    assert {path.name.partition(".")[0] for path in kept} == {"__init__", "models"}


def test_a_runtime_that_imports_nothing_starts_nothing(tmp_path: Path) -> None:
    compile_once(str(tmp_path / "absent"), [], {})
