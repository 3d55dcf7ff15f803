"""Artifacts of every format that this machine has tools for, and one run of the gate over them.

``pytest -m formats``. GPTQ, AWQ, bitsandbytes and torchao are made in this environment, and
compressed-tensors where QGATE_LLMCOMPRESSOR_PYTHON names an interpreter that has llm-compressor;
a machine with two cores takes 20 to 30 minutes, most of them for the gate itself.

Where the tools are not, as on a GPU machine without a network, QGATE_FORMATS_MODELS names a
directory that was made elsewhere by ``python -m qgate.demo DIR --with-broken --formats ...``. Its
artifacts are read and no others are made; a format that is not in it is skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import NEEDED, model_directory
from qgate.demo.formats import child
from qgate.demo.formats.make import NAME, PYTHON_VARIABLE, REFERENCE, Order, check_tools
from qgate.demo.formats.recipes import GGUF, RECIPES
from tests.plugin.conftest import CLOSED_PORT, CORE, Outcome, core_limits, new_project, script

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.plugin.conftest import Project

PATIENCE_S = 3600
READY_MADE = "QGATE_FORMATS_MODELS"
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True)
class Models:
    """A mixed directory, and why a format is not in it."""

    directory: Path
    absent: Mapping[str, str]

    def need(self, name: str) -> str:
        """Return what the format's sound artifact is called, or skip."""
        if name in self.absent:
            pytest.skip(self.absent[name])
        return f"qgate-demo-{RECIPES[name].suffix}"

    def need_broken(self, name: str) -> str:
        """Return what the format's broken artifact is called, or skip."""
        return self.need(name).replace("qgate-demo-", "qgate-demo-broken-")


def why_absent() -> dict[str, str]:
    """What each format lacks that cannot be made here."""
    lines: dict[str, str] = {}
    for name in RECIPES:
        order = Order(
            formats=(name,),
            reference=model_directory(),
            directory=Path(),
            llmcompressor_python=os.environ.get(PYTHON_VARIABLE, ""),
        )
        if missing := check_tools(order):
            lines[name] = missing[0]
    if any(child.missing_packages(sys.executable, (name,)) for name in NEEDED):
        lines[GGUF] = f"gguf: needs {', '.join(NEEDED)}"
    return lines


def ready_made(directory: Path) -> Models:
    """What lies in a directory that was made elsewhere."""
    assert (directory / REFERENCE).is_dir(), f"{READY_MADE}: no {REFERENCE} in {directory}"
    places = {name: f"{NAME}-{recipe.suffix}" for name, recipe in RECIPES.items()}
    absent = {
        name: f"{name}: not in {directory}, which {READY_MADE} names"
        for name, place in {GGUF: f"{NAME}-F16.gguf", **places}.items()
        if not (directory / place).exists()
    }
    return Models(directory=directory, absent=MappingProxyType(absent))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Made by ``python -m qgate.demo --formats ... --with-broken``, here or elsewhere."""
    if named := os.environ.get(READY_MADE):
        return ready_made(Path(named).resolve())
    absent = why_absent()
    names = [name for name in (GGUF, *RECIPES) if name not in absent]
    directory = tmp_path_factory.mktemp("formats") / "models"
    command = [sys.executable, "-m", "qgate.demo", str(directory), "--with-broken"]
    done = subprocess.run(
        [*command, "--formats", ",".join(names)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return Models(directory=directory, absent=MappingProxyType(absent))


def gate(project: Project, models: Path, limits: str, *arguments: str) -> Outcome:
    """Run the gate over a directory, however long it takes."""
    where = [f"--qgate={models}", f"--qgate-mlflow-uri={CLOSED_PORT}"]
    file = project.write("limits.yaml", limits)
    done = subprocess.run(
        [str(script()), *where, f"--qgate-thresholds={file}", *arguments],
        cwd=project.directory,
        env=project.environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return Outcome(
        code=done.returncode, out=done.stdout, err=done.stderr, directory=project.directory
    )


@pytest.fixture(scope="session")
def seen(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Integrity, perplexity and divergence of all of them under the shipped limits."""
    project = new_project(tmp_path_factory.mktemp("formats-run") / "project")
    text = "text: {source: generated, windows: 32, window_tokens: 256}\n"
    return gate(project, models.directory, core_limits() + text, *CORE)
