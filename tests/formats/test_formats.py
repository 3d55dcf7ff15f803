"""Real artifacts of every format, each made by its own tool, through the gate in one run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.formats.recipes import GGUF, RECIPES
from tests.formats.conftest import gate
from tests.plugin.conftest import new_project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.formats.conftest import Models
    from tests.plugin.conftest import Outcome

pytestmark = pytest.mark.formats

QUALITY = {
    "perplexity.ratio",
    "divergence.kl_mean",
    "divergence.kl_p99",
    "divergence.same_top",
}
SCHEMES = {
    "gptq": ("gptq", "TorchAtenLinear"),
    "awq": ("awq", "TorchAtenAwqLinear"),
    "nf4": ("bitsandbytes", "Linear4bit"),
    "nf4-double": ("bitsandbytes", "Linear4bit"),
    "nf4-at-load": ("bitsandbytes", "Linear4bit"),
    "int8": ("bitsandbytes", "Linear8bitLt"),
    "torchao": ("torchao", "Linear"),
    "w4a16": ("compressed-tensors", "Linear"),
    "w8a8": ("compressed-tensors", "Linear"),
    "fp8": ("compressed-tensors", "Linear"),
}
"""Scheme as the file has it, and how the kernel's name begins in transformers on a CPU."""
EIGHT_BIT = ("int8", "torchao", "w8a8", "fp8")


def entry(seen: Outcome, name: str) -> dict[str, Any]:
    (found,) = (one for one in seen.report()["artifacts"] if one["id"] == name)
    return dict(found)


def test_the_hf_reference_is_the_reference_of_all(seen: Outcome) -> None:
    assert seen.report()["reference"]["id"] == "qgate-demo-float16"
    assert "Traceback" not in seen.text


@pytest.mark.parametrize("name", RECIPES)
def test_a_sound_artifact_passes_every_quality_row(
    models: Models, seen: Outcome, name: str
) -> None:
    found = entry(seen, models.need(name))
    wrong = {row["name"]: row["message"] for row in found["checks"] if row["verdict"] != "pass"}
    names = {row["name"] for row in found["checks"]}
    assert names >= QUALITY
    assert ({key: wrong[key] for key in QUALITY & wrong.keys()}, found["verdict"]) == ({}, "pass")


@pytest.mark.parametrize("name", RECIPES)
def test_a_broken_artifact_loads_and_fails_every_quality_row(
    models: Models, seen: Outcome, name: str
) -> None:
    verdicts = seen.verdicts(models.need_broken(name))
    assert {verdicts[row] for row in QUALITY} == {"fail"}
    assert entry(seen, models.need_broken(name))["verdict"] == "fail"
    assert "error" not in verdicts.values()
    # a lost layer is seen in the files as well
    expected = "fail" if RECIPES[name].damage.how == "zero" else "pass"
    assert verdicts["integrity.weights"] == expected


@pytest.mark.parametrize("name", RECIPES)
def test_the_report_tells_scheme_runtime_and_kernel(
    models: Models, seen: Outcome, name: str
) -> None:
    found = entry(seen, models.need(name))
    scheme, kernel = SCHEMES[name]
    assert (found["format"], found["scheme"]) == ("hf", scheme)
    runtime = found["runtime"]
    assert runtime["name"] in ("transformers", "vllm")
    assert runtime["reason"]
    if (runtime["name"], runtime["device"]) == ("transformers", "cpu"):
        assert runtime["kernel"].startswith(kernel)
    else:
        assert runtime["kernel"]


def test_the_table_names_runtime_and_kernel(models: Models, seen: Outcome) -> None:
    models.need("int8")
    (heading,) = (line for line in seen.lines if line.split()[:2] == ["artifact", "runtime"])
    assert heading.split() == ["artifact", "runtime", "device", "kernel", "why"]
    assert any("transformers" in line and "Linear8bitLt" in line for line in seen.lines)


def test_gguf_files_beside_them_are_served_by_llama_cpp(models: Models, seen: Outcome) -> None:
    if GGUF in models.absent:
        pytest.skip(models.absent[GGUF])
    assert entry(seen, "qgate-demo-Q8_0")["runtime"]["name"] == "llama_cpp"
    assert entry(seen, "qgate-demo-Q8_0")["verdict"] == "pass"
    assert entry(seen, "qgate-demo-Q2_K")["verdict"] == "fail"


def test_eight_bits_pass_the_shipped_limits_of_quality_tasks_and_edge_cases(
    models: Models, tmp_path: Path
) -> None:
    names = [models.need(name) for name in EIGHT_BIT if name not in models.absent]
    if not names:
        pytest.skip("; ".join(models.absent[name] for name in EIGHT_BIT))
    for name in ("qgate-demo-float16", *names):
        shutil.copytree(models.directory / name, tmp_path / "models" / name)
    project = new_project(tmp_path / "project")
    # times and memory of a model this small say nothing of a format
    lines = ("-m", "not latency and not memory")
    seen = gate(project, tmp_path / "models", "version: 1\n", *lines)
    for name in names:
        verdicts = seen.verdicts(name)
        assert {row: verdict for row, verdict in verdicts.items() if verdict == "fail"} == {}
        judged = {row for row, verdict in verdicts.items() if verdict == "pass"}
        assert judged >= QUALITY | {"accuracy.code", "accuracy.drill", "edge.multilingual"}
    assert seen.code == 0
