"""A worker that is 15 % slower fails latency.tps, and one that is not does not.

    QGATE_SLOWDOWN_REPETITIONS=20 pytest tests/plugin/test_latency_slowdown.py -m slow

runs each so many times. The artifact is a copy of the reference, so that nothing but the planted
slowness differs; nothing else may run on the machine.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

pytestmark = pytest.mark.slow
REPETITIONS = int(os.environ.get("QGATE_SLOWDOWN_REPETITIONS", "2"))
SLOWER = """
import time
from pathlib import Path
from qgate.runtimes.llama_cpp.adapter import LlamaCpp

class Planted(LlamaCpp):
    def load(self, settings):
        self._share = 0.15 if "slow" in Path(settings.path).name else 0.0
        return super().load(settings)

    def stream(self, ids, count):
        started = time.perf_counter()
        for token in super().stream(ids, count):
            now = time.perf_counter()
            until = now + self._share * (now - started)
            while time.perf_counter() < until:
                pass
            yield token
            started = time.perf_counter()
"""
LIMITS = """
version: 1
runtime: {threads: 1}
limits:
  latency.tps: {min: 0.95, rule: alarm}
"""


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    directory = tmp_path / "models"
    directory.mkdir()
    convert(model_directory(), directory / "original.gguf")
    for name in ("same", "slow"):
        shutil.copy(directory / "original.gguf", directory / f"{name}.gguf")
    return directory


@pytest.fixture
def gate(project: Project, models: Path, planted: Callable[[str], str]) -> Callable[[str], Outcome]:
    """gate(name) -> a run of latency.tps on that copy of the reference."""
    runtime = planted(SLOWER)
    project.write("limits.yaml", LIMITS)

    def run(name: str) -> Outcome:
        return project.pytest(
            f"--qgate={models / name}.gguf",
            f"--qgate-reference={models / 'original.gguf'}",
            f"--qgate-runtime={runtime}",
            "--qgate-thresholds=limits.yaml",
            "--qgate-mlflow-uri=http://127.0.0.1:9",
            "-k",
            "test_tps",
            PYTHONPATH=os.environ["PYTHONPATH"],
        )

    return run


@pytest.mark.parametrize("repetition", range(REPETITIONS))
def test_a_worker_that_is_15_percent_slower_fails(
    gate: Callable[[str], Outcome], repetition: int
) -> None:
    seen = gate("slow")

    assert seen.verdicts("slow")["latency.tps"] == "fail", seen.message("slow", "latency.tps")
    assert seen.code == 1


@pytest.mark.parametrize("repetition", range(REPETITIONS))
def test_a_worker_that_is_the_same_does_not(
    gate: Callable[[str], Outcome], repetition: int
) -> None:
    seen = gate("same")

    assert seen.verdicts("same")["latency.tps"] == "pass", seen.message("same", "latency.tps")
    assert seen.code == 0
