"""Idle costs nothing: what an installed but unused plugin does not import."""

from __future__ import annotations

import os
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
    assert "qgate.fixtures" in own
    assert "qgate.session" not in own


@pytest.mark.parametrize("module", ["qgate.report.mlflow", "qgate.runtimes.host", "qgate.session"])
def test_heavy_libraries_wait_until_they_are_used(tmp_path: Path, module: str) -> None:
    code = f"import {module}, sys; print([n for n in {HEAVY[3:]} if n in sys.modules])"
    assert run_python(code, tmp_path) == ["[]"]
