"""Four formats against the reference in 16 bits on an NVIDIA GPU, in transformers and in vLLM.

    QGATE_LLMCOMPRESSOR_PYTHON=llmc/bin/python pytest tests/formats -m gpu -rP

``-rP`` shows what the gate printed: kernel, memory and times of each. vLLM takes part where it is
installed, or where QGATE_VLLM_PYTHON names an interpreter that has it. Where the formats' tools are
not at hand, QGATE_FORMATS_MODELS names a directory of artifacts made elsewhere.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import pytest

from tests.formats.conftest import gate
from tests.formats.test_formats import QUALITY, SCHEMES, entry
from tests.plugin.conftest import Outcome, core_limits, new_project
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from tests.formats.conftest import Models

pytestmark = pytest.mark.gpu

FORMATS = ("gptq", "awq", "nf4", "fp8")
MEASURED = {"latency.ttft", "latency.tps", "memory.weights", "memory.kv_cache", "memory.peak"}
"""Shown without limits: times and memory of a model this small say nothing of a format."""


@pytest.fixture(scope="session", autouse=True)
def _has_gpu() -> None:
    """Of the widest scope, so that nothing is made before it is known."""
    torch = pytest.importorskip("torch", reason="needs transformers on a GPU")
    if not torch.cuda.is_available():
        pytest.skip("no GPU: torch.cuda.is_available() is False")


@pytest.fixture(scope="session", params=["transformers", "vllm"])
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param == "vllm":
        python_with_vllm()
    return str(request.param)


@pytest.fixture(scope="session")
def on_gpu(runtime: str, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """These formats in the runtime: quality is judged, times and memory are shown."""
    place = tmp_path_factory.mktemp(f"gpu-{runtime}")
    formats = served(models, runtime)
    if not formats:
        pytest.skip("; ".join(models.absent[name] for name in FORMATS))
    for name in ("qgate-demo-float16", *map(models.need, formats)):
        shutil.copytree(models.directory / name, place / "models" / name)
    limits = core_limits()
    if runtime == "vllm":
        limits += f'runtimes: {{vllm: {{python: "{python_with_vllm()}", kv_cache_gib: 1}}}}\n'
    # edge cases take as long as all the rest, and say as little of a format
    how = (f"--qgate-runtime={runtime}", "-m", "not edge")
    return gate(new_project(place / "project"), place / "models", limits, *how)


def served(models: Models, runtime: str) -> list[str]:
    """Those that could be made; bitsandbytes is always left to transformers."""
    return [
        name for name in FORMATS if name not in models.absent and (runtime, name) != ("vllm", "nf4")
    ]


def test_the_run_holds(on_gpu: Outcome) -> None:
    sys.stdout.write(on_gpu.out)
    assert "Traceback" not in on_gpu.text
    assert on_gpu.code == 0


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_served_and_measured_on_the_gpu(
    models: Models, runtime: str, on_gpu: Outcome, name: str
) -> None:
    artifact = models.need(name)
    if name not in served(models, runtime):
        pytest.skip(f"{runtime} is not chosen for {name}")
    found = entry(on_gpu, artifact)
    rows = {row["name"]: row for row in found["checks"]}
    assert {row: rows[row]["verdict"] for row in QUALITY} == dict.fromkeys(QUALITY, "pass")
    assert {row for row in MEASURED if rows[row]["value"] is None} == set()
    told = found["runtime"]
    assert (told["name"], told["device"], found["scheme"]) == (runtime, "gpu", SCHEMES[name][0])
    assert told["kernel"]
