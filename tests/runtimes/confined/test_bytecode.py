"""What a runtime imports is compiled once, before a child that could not keep it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from qgate.runtimes.confined.bytecode import compile_once
from qgate.runtimes.environment import child_environment

ROOT = Path(__file__).resolve().parents[3]


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


@pytest.mark.parametrize("name", ["PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX"])
def test_where_nothing_would_be_kept_for_a_child_nothing_is_imported(
    python: Path, tmp_path: Path, name: str
) -> None:
    """As Dockerfiles have it: each child would wait for an import that helps no other."""
    environment = {**child_environment({}), "LOG": str(tmp_path / "log"), name: "1"}

    compile_once(str(python), ["big.models"], environment)

    assert not (tmp_path / "log").exists()


def test_where_there_is_no_room_for_a_directory_nothing_is_compiled(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    environment = {**child_environment({}), "LOG": str(tmp_path / "log")}

    compile_once(str(python), ["big.models"], environment)

    assert not (tmp_path / "log").exists()


# --- it goes with whoever waits for it -----------------------------------------------------------

SLEEPS = """
import os, time
with open(os.environ["LOG"], "w") as log:
    log.write(f"{os.getpid()} ")
time.sleep(60)
"""
WAITS = """
import sys
from qgate.runtimes.confined.bytecode import compile_once
from qgate.runtimes.environment import child_environment
compile_once(sys.argv[1], ["slow"], {**child_environment({}), "LOG": sys.argv[2]})
"""


@pytest.fixture
def slow(python: Path) -> Path:
    """The same environment; this import takes a minute."""
    (site,) = python.parents[1].glob("lib/python3*/site-packages")
    (site / "slow").mkdir()
    (site / "slow" / "__init__.py").write_text(SLEEPS)
    return python


def pid_in(log: Path) -> int:
    """Of the child, once it imports."""
    until = time.monotonic() + 60.0
    while time.monotonic() < until:
        if log.exists() and (said := log.read_text()).endswith(" "):
            return int(said)
        time.sleep(0.02)
    pytest.fail("no child began to import")


def is_there(pid: int) -> bool:
    """Whether a process runs, waited for up to three seconds."""
    until = time.monotonic() + 3.0
    while Path(f"/proc/{pid}/exe").exists() and time.monotonic() < until:
        time.sleep(0.02)
    is_left = Path(f"/proc/{pid}/exe").exists()
    if is_left:
        os.kill(pid, signal.SIGKILL)
    return is_left


def test_an_interrupt_ends_it(slow: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"

    def interrupt(*_: object, **__: object) -> NoReturn:
        pid_in(log)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupt)
    with pytest.raises(KeyboardInterrupt):
        compile_once(str(slow), ["slow"], {**child_environment({}), "LOG": str(log)})

    assert not is_there(pid_in(log))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing dies with its parent")
def test_a_parent_that_is_killed_takes_it_along(slow: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with subprocess.Popen([sys.executable, "-c", WAITS, slow, log], cwd=ROOT) as parent:
        child = pid_in(log)
        parent.kill()

    assert not is_there(child)
