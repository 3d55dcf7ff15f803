"""Quantized artifacts in vLLM, sound and broken: the kernels, and the same verdicts as elsewhere.

    QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/formats -m formats

Kernels are those of vLLM's CPU build; `tests/formats/test_gpu.py` is for a GPU.
"""

from __future__ import annotations

import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from tests.formats.conftest import gate
from tests.formats.test_formats import QUALITY, SCHEMES, entry
from tests.plugin.conftest import CORE, Outcome, core_limits, new_project
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.formats.conftest import Models

pytestmark = pytest.mark.formats

KERNELS: Mapping[str, str] = MappingProxyType(
    {
        "gptq": "CPUWNA16LinearKernel",
        "awq": "CPUWNA16LinearKernel",
        "w4a16": "CPUWNA16LinearKernel",
        "w8a8": "CPUInt8ScaledMMLinearKernel",
        "fp8": "ChannelWiseTorchFP8ScaledMMLinearKernel",
    }
)


@pytest.fixture(scope="session")
def vllm_python() -> str:
    return python_with_vllm()


@pytest.fixture(scope="session")
def in_vllm(vllm_python: str, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Integrity, perplexity and divergence of what vLLM's CPU build serves, as it is chosen."""
    place = tmp_path_factory.mktemp("in-vllm")
    formats = [name for name in KERNELS if name not in models.absent]
    if not formats:
        pytest.skip("; ".join(models.absent[name] for name in KERNELS))
    names = [*map(models.need, formats), *map(models.need_broken, formats)]
    for name in ("qgate-demo-float16", *names):
        shutil.copytree(models.directory / name, place / "models" / name)
    limits = core_limits() + (
        "text: {source: generated, windows: 64, window_tokens: 256}\n"
        f'runtimes: {{vllm: {{python: "{vllm_python}", kv_cache_gib: 1}}}}\n'
    )
    return gate(new_project(place / "project"), place / "models", limits, *CORE)


@pytest.mark.parametrize("name", KERNELS)
def test_a_sound_artifact_passes_in_vllm_by_its_kernel(
    in_vllm: Outcome, models: Models, name: str
) -> None:
    found = entry(in_vllm, models.need(name))
    runtime = found["runtime"]
    served_by = (found["scheme"], runtime["name"], runtime["device"])
    assert served_by == (SCHEMES[name][0], "vllm", "cpu")
    assert runtime["reason"].startswith("no GPU; vLLM supports ")
    assert runtime["kernel"].split()[-1] == KERNELS[name]
    verdicts = in_vllm.verdicts(found["id"])
    assert {row: verdicts[row] for row in QUALITY} == dict.fromkeys(QUALITY, "pass")
    assert found["verdict"] == "pass"


@pytest.mark.parametrize("name", KERNELS)
def test_a_broken_artifact_fails_in_vllm(in_vllm: Outcome, models: Models, name: str) -> None:
    verdicts = in_vllm.verdicts(models.need_broken(name))
    assert {verdicts[row] for row in QUALITY} == {"fail"}
    assert "Traceback" not in in_vllm.text
