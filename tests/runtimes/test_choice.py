"""Which runtime serves what: by format, scheme and device, and by what is installed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts.hf.directory import hf_artifact
from qgate.demo.__main__ import model_directory
from qgate.runtimes.selection import Choice, Machine, choose, serves
from qgate.runtimes.spec import RuntimeSpec
from tests.runtimes.machines import (
    BARE,
    CPU,
    CPU_WITHOUT_VLLM,
    EVERYTHING,
    GPU,
    GPU_WITHOUT_VLLM,
    gguf,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.records import Artifact
    from qgate.runtimes.spec import Device

GPTQ: dict[str, Any] = {"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True}
AWQ: dict[str, Any] = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
NF4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
TORCHAO = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}


def compressed(weights: dict[str, Any], inputs: dict[str, Any] | None) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": inputs}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


INT4 = {"type": "int", "num_bits": 4, "strategy": "group", "group_size": 128}
INT8 = {"type": "int", "num_bits": 8, "strategy": "channel"}
FP8 = {"type": "float", "num_bits": 8, "strategy": "channel"}
W4A16 = compressed(INT4, None)
W8A8 = compressed(INT8, {**INT8, "strategy": "token", "dynamic": True})
FP8_DYNAMIC = compressed(FP8, {**FP8, "strategy": "token", "dynamic": True})
FP8_STATIC = compressed({**FP8, "strategy": "tensor"}, {**FP8, "dynamic": False})
FP8_BLOCK = compressed({**FP8, "strategy": "block"}, {**FP8, "strategy": "group", "dynamic": True})
W8A16 = compressed(INT8, None)
NVFP4 = compressed({"type": "float", "num_bits": 4, "strategy": "tensor_group"}, None)


@pytest.fixture
def directory(tmp_path: Path) -> Callable[[dict[str, Any] | None], Artifact]:
    """directory(quantization_config) -> what discovery says of a directory with it."""

    def make(quantization: dict[str, Any] | None, quantize: str = "") -> Artifact:
        place = tmp_path / f"model{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        said = {} if quantization is None else {"quantization_config": quantization}
        config = {"model_type": "llama", "dtype": "bfloat16", **said}
        (place / "config.json").write_text(json.dumps(config))
        (place / "model.safetensors").write_bytes(b"")
        if quantize:
            (place / "qgate.yaml").write_text(quantize)
        found = hf_artifact(place, tmp_path)
        assert found.problem is None
        return found

    return make


@pytest.mark.parametrize("machine", [GPU, CPU, GPU_WITHOUT_VLLM, CPU_WITHOUT_VLLM, BARE])
def test_gguf_is_served_by_llama_cpp_wherever_it_is(machine: Machine) -> None:
    assert choose(gguf(), None, machine) == Choice(name="llama_cpp", reason="gguf")


@pytest.mark.parametrize(
    ("quantization", "scheme"),
    [
        (None, "unquantized models"),
        (GPTQ, "gptq"),
        ({**GPTQ, "bits": 8}, "gptq"),
        (AWQ, "awq"),
        (W4A16, "compressed-tensors"),
        (FP8_STATIC, "compressed-tensors"),
        (NVFP4, "compressed-tensors"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)
def test_on_a_gpu_vllm_serves_what_it_supports(
    directory: Callable[..., Artifact], quantization: dict[str, Any] | None, scheme: str
) -> None:
    artifact = directory(quantization)
    assert named(choose(artifact, None, GPU)) == ("vllm", f"vLLM supports {scheme} on a GPU")
    assert named(choose(artifact, None, GPU_WITHOUT_VLLM)) == (
        "transformers",
        "vLLM is not installed",
    )


@pytest.mark.parametrize(
    "quantization",
    [
        *({"quant_method": name} for name in ("bitsandbytes", "fbgemm_fp8", "hqq", "unheard-of")),
        TORCHAO,
        {**GPTQ, "bits": 3},
        {**GPTQ, "sym": False},
        {**AWQ, "bits": 8},
    ],
)
def test_on_a_gpu_transformers_serves_the_rest(
    directory: Callable[..., Artifact], quantization: dict[str, Any]
) -> None:
    artifact = directory(quantization)
    assert named(choose(artifact, None, GPU)) == (
        "transformers",
        f"vLLM does not support {quantization['quant_method']}",
    )


@pytest.mark.parametrize(
    ("has_gpu", "build", "reason"),
    [
        (True, "cpu", "this vLLM is built for a CPU"),
        (False, "gpu", "no GPU; this vLLM is built for a GPU"),
    ],
)
def test_a_vllm_that_is_built_for_another_device_is_not_chosen(
    directory: Callable[..., Artifact], has_gpu: bool, build: Device, reason: str
) -> None:
    machine = Machine(has_gpu=has_gpu, installed=EVERYTHING, builds={"vllm": build})
    assert named(choose(directory(GPTQ), None, machine)) == ("transformers", reason)
    fitting = Machine(has_gpu=not has_gpu, installed=EVERYTHING, builds={"vllm": build})
    assert choose(directory(GPTQ), None, fitting).name == "vllm"


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_a_build_for_the_cpu_stands_in_on_a_machine_with_a_gpu_too(
    directory: Callable[..., Artifact], runtime: str
) -> None:
    machine = Machine(has_gpu=True, installed=EVERYTHING, builds={runtime: "cpu"})
    assert choose(directory(None), runtime, machine).is_stand_in
    assert not serves("vllm", directory(FP8_STATIC), replace(machine, builds={"vllm": "cpu"}))


@pytest.mark.parametrize(
    ("quantization", "scheme"),
    [
        (None, "unquantized models"),
        (GPTQ, "gptq"),
        (AWQ, "awq"),
        (W4A16, "compressed-tensors"),
        (W8A8, "compressed-tensors"),
        (FP8_DYNAMIC, "compressed-tensors"),
    ],
)
def test_without_a_gpu_vllm_serves_what_its_cpu_kernels_do(
    directory: Callable[..., Artifact], quantization: dict[str, Any] | None, scheme: str
) -> None:
    artifact = directory(quantization)
    reason = f"no GPU; vLLM supports {scheme} on a CPU"
    assert named(choose(artifact, None, CPU)) == ("vllm", reason)
    assert named(choose(artifact, None, CPU_WITHOUT_VLLM)) == (
        "transformers",
        "no GPU; vLLM is not installed",
    )


@pytest.mark.parametrize(
    "quantization",
    [
        {**GPTQ, "bits": 8},
        {**GPTQ, "sym": False},
        {"quant_method": "gptq", "bits": 4},
        {**AWQ, "bits": 3},
        NF4,
        TORCHAO,
        {"quant_method": "fp8"},
        FP8_STATIC,
        FP8_BLOCK,
        W8A16,
        NVFP4,
        {**W4A16, "config_groups": {**W4A16["config_groups"], "group_1": None}},
        {**W4A16, "config_groups": {}},
        {**W4A16, "config_groups": ["group_0"]},
        {**W4A16, "transform_config": {"config_groups": {}}},
    ],
)
def test_without_a_gpu_transformers_serves_what_vllm_has_no_kernel_for(
    directory: Callable[..., Artifact], quantization: dict[str, Any]
) -> None:
    artifact, method = directory(quantization), quantization["quant_method"]
    reason = f"no GPU; vLLM does not support this kind of {method} on a CPU"
    assert named(choose(artifact, None, CPU)) == ("transformers", reason)


@pytest.mark.parametrize("machine", [GPU, CPU, CPU_WITHOUT_VLLM])
def test_what_is_quantized_while_it_is_loaded_goes_to_transformers(
    directory: Callable[..., Artifact], machine: Machine
) -> None:
    artifact = directory(None, "quantize: {method: bitsandbytes, load_in_4bit: true}\n")
    assert named(choose(artifact, None, machine)) == (
        "transformers",
        "quantized while it is loaded",
    )
    assert not serves("vllm", artifact, machine)


def test_a_config_that_has_gone_since_is_left_to_the_runtime_that_loads_it(
    directory: Callable[..., Artifact],
) -> None:
    artifact = directory(GPTQ)
    (artifact.path / "config.json").unlink()
    assert choose(artifact, None, CPU).name == "transformers"


def test_where_nothing_is_installed_the_child_is_left_to_say_what_to_install(
    directory: Callable[..., Artifact],
) -> None:
    assert choose(directory(GPTQ), None, BARE).name == "transformers"
    assert choose(gguf(), None, BARE).name == "llama_cpp"


@pytest.mark.parametrize("runtime", ["transformers", "vllm"])
def test_a_cpu_stands_in_for_the_gpu_that_hf_models_are_made_for(runtime: str) -> None:
    artifact = hf_artifact(model_directory(), model_directory())
    assert choose(artifact, runtime, CPU).is_stand_in
    assert not choose(artifact, runtime, GPU).is_stand_in


@pytest.mark.parametrize("runtime", ["llama_cpp", "openai_server", "fake"])
def test_what_is_served_as_it_will_be_stands_in_for_nothing(runtime: str) -> None:
    assert not choose(gguf(), runtime, CPU).is_stand_in


KIND = "this kind of Q4_K_M on a CPU"


def test_the_reference_is_served_where_the_artifact_is_if_it_loads_there(
    directory: Callable[..., Artifact],
) -> None:
    reference = directory(None)
    assert [serves(name, reference, CPU) for name in ("transformers", "vllm", "llama_cpp")] == [
        True,
        True,
        False,
    ]
    assert not serves("vllm", directory(NF4), CPU)
    assert not serves("vllm", directory(NF4), GPU)
    assert serves("transformers", directory(NF4), CPU)


@pytest.mark.parametrize(
    ("preference", "is_installed", "does_support", "expected"),
    [
        (30, True, True, ("mine", "no GPU; Mine supports Q4_K_M on a CPU")),
        (
            30,
            True,
            False,
            ("llama_cpp", f"no GPU; Mine does not support {KIND}"),
        ),
        (30, False, True, ("llama_cpp", "no GPU; Mine is not installed")),
        (5, True, True, ("llama_cpp", "gguf")),
        (None, True, True, ("llama_cpp", "gguf")),
    ],
)
def test_a_runtime_of_another_package_is_chosen_by_its_preference(
    preference: int | None, is_installed: bool, does_support: bool, expected: tuple[str, str]
) -> None:
    mine = RuntimeSpec(
        name="mine",
        title="Mine",
        adapter="mine:Mine",
        formats=frozenset({"gguf"}),
        preference=preference,
        supports=lambda artifact, device: does_support,
        import_name="mine",
    )
    installed = EVERYTHING | {"mine"} if is_installed else EVERYTHING
    machine = replace(CPU, installed=installed, runtimes=(*CPU.runtimes, mine))

    assert named(choose(gguf(), None, machine)) == expected


def test_where_llama_cpp_is_missing_another_runtime_for_its_format_serves() -> None:
    mine = RuntimeSpec(name="mine", title="Mine", adapter="mine:Mine", preference=5)
    machine = replace(BARE, runtimes=(*BARE.runtimes, mine))

    assert named(choose(gguf(), None, machine)) == ("mine", "no GPU; llama.cpp is not installed")
