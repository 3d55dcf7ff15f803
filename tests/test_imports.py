"""Idle costs nothing: what an installed but unused plugin does not import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("yaml", "pydantic", "numpy", "torch", "mlflow", "rich", "llama_cpp", "gguf", "scipy")
IMPORT = f"import qgate.plugin, sys; print([name for name in {HEAVY} if name in sys.modules])"
COLLECT = f"""
import pytest, sys
assert pytest.main(["--collect-only", "-q", "-p", "qgate.plugin"]) == 0
assert "qgate.plugin" in sys.modules
print([name for name in {HEAVY} if name in sys.modules])
print([name for name in sys.modules if name.startswith("qgate.")])
"""

IDLE = """
import functools, importlib, inspect, time
begun = time.process_time()
import pytest
pytest_s = time.process_time() - begun
begun = time.process_time()
plugin = importlib.import_module("qgate.plugin")
spent_s = [time.process_time() - begun]

def timed(hook):
    if inspect.isgeneratorfunction(hook):
        return timed_around(hook)
    @functools.wraps(hook)
    def call(*args):
        begun = time.process_time()
        try:
            return hook(*args)
        finally:
            spent_s.append(time.process_time() - begun)
    return call

def timed_around(hook):
    @functools.wraps(hook)
    def call(*args):
        begun = time.process_time()
        around = hook(*args)
        next(around)
        spent_s.append(time.process_time() - begun)
        result = yield
        begun = time.process_time()
        try:
            around.send(result)
        except StopIteration as end:
            return end.value
        finally:
            spent_s.append(time.process_time() - begun)
    return call

hooks = [name for name in vars(plugin) if name.startswith("pytest_")]
for name in hooks:
    setattr(plugin, name, timed(getattr(plugin, name)))
assert pytest.main(["--collect-only", "-q", "-p", "qgate.plugin"]) == 0
assert {"pytest_addoption", "pytest_configure"} <= set(hooks)
print(len(spent_s), sum(spent_s) / pytest_s)
"""
MAX_OF_IMPORTING_PYTEST = 0.2


def run_python(code: str, directory: Path) -> list[str]:
    """What a fresh interpreter prints; other plugins, which import what they like, stay out."""
    package = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_importing_the_plugin_imports_nothing_heavy(tmp_path: Path) -> None:
    assert run_python(IMPORT, tmp_path) == ["[]"]


def test_an_idle_run_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    *_, heavy, own = run_python(COLLECT, tmp_path)

    assert heavy == "[]"
    assert "qgate.plugin.options" in own
    assert "qgate.plugin.fixtures" not in own


@pytest.mark.alone
def test_an_idle_run_pays_a_fraction_of_what_importing_pytest_costs(tmp_path: Path) -> None:
    """Import and hooks on the clock of their own process: whole runs differ by 100 ms anyhow."""
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    runs = [run_python(IDLE, tmp_path)[-1].split() for _ in range(5)]

    assert all(int(timed) >= 3 for timed, _ in runs)
    ratios = [float(ratio) for _, ratio in runs]
    assert statistics.median(ratios) < MAX_OF_IMPORTING_PYTEST


@pytest.mark.parametrize(
    "module", ["qgate.report.mlflow.runs", "qgate.runtimes.host", "qgate.plugin.session"]
)
def test_heavy_libraries_wait_until_they_are_used(tmp_path: Path, module: str) -> None:
    code = f"import {module}, sys; print([n for n in {HEAVY[3:]} if n in sys.modules])"
    assert run_python(code, tmp_path) == ["[]"]
