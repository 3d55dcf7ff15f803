"""Which runtime the user names, and what is told where that one cannot serve the artifact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate import runtimes
from qgate.artifacts.hf.directory import hf_artifact
from qgate.demo.__main__ import model_directory
from qgate.errors import RuntimeUnavailable, UsageError
from qgate.runtimes.selection import Choice, choose, look, serves
from tests.runtimes.machines import BARE, CPU, GPU, gguf, named

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_named_runtime_is_taken_and_the_reason_says_who_named_it() -> None:
    artifact = hf_artifact(model_directory(), model_directory())
    assert named(choose(artifact, "vllm", BARE)) == ("vllm", "--qgate-runtime")
    assert named(choose(artifact, "transformers", GPU, by="runtime.name")) == (
        "transformers",
        "thresholds file",
    )


@pytest.mark.parametrize("runtime", ["openai_server", "fake"])
def test_some_runtimes_read_anything(runtime: str) -> None:
    for artifact in (gguf(), hf_artifact(model_directory(), model_directory())):
        assert choose(artifact, runtime, CPU).name == runtime
        assert serves(runtime, artifact, CPU)


def test_an_entry_point_that_names_an_adapter_serves_where_it_is_named(
    planted: Callable[[str], str], tmp_path: Path
) -> None:
    """As all did before there were specs."""
    name = planted("class Planted: pass\n")
    [facts] = (tmp_path / "plugins").glob("*.dist-info")
    (facts / "entry_points.txt").write_text(f"[qgate.runtimes]\n{name} = planted:Planted\n")

    machine = look({}, {})

    assert choose(gguf(), name, machine) == Choice(name=name, reason="--qgate-runtime")
    assert choose(gguf(), None, machine).name == "llama_cpp"
    assert serves(name, gguf(), machine)


def test_llama_cpp_reads_no_directories() -> None:
    artifact = hf_artifact(model_directory(), model_directory())
    with pytest.raises(RuntimeUnavailable) as refusal:
        choose(artifact, "llama_cpp", CPU)
    assert str(refusal.value) == (
        "model: runtime 'llama_cpp' does not read Hugging Face directories: got model; expected a"
        " .gguf file. Leave out --qgate-runtime, and each artifact gets the runtime that fits"
    )
    assert not serves("llama_cpp", artifact, CPU)


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_hf_runtimes_read_no_gguf(runtime: str) -> None:
    with pytest.raises(RuntimeUnavailable) as refusal:
        choose(gguf(), runtime, CPU, by="runtime.name")
    assert str(refusal.value) == (
        f"llama-Q4_K_M: runtime {runtime!r} does not read GGUF files: got llama-Q4_K_M.gguf;"
        " expected a directory with config.json and *.safetensors. Leave out runtime.name, and"
        " each artifact gets the runtime that fits"
    )
    assert not serves(runtime, gguf(), CPU)


def test_a_misspelt_runtime_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(UsageError) as refusal:
        choose(gguf(), "vlm", CPU)
    assert str(refusal.value) == (
        "--qgate-runtime: unknown runtime: got 'vlm'; expected one of"
        f" {', '.join(runtimes.names())}. Did you mean 'vllm'?"
    )
