"""How a directory says that it is quantized: the scheme verbatim, and the rest in short words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from tests.artifacts.model_files import hf

if TYPE_CHECKING:
    from pathlib import Path

FOUR_BITS = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
EIGHT_BITS = {"num_bits": 8, "type": "int", "strategy": "channel", "group_size": None}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
BLOCKS = {"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}
MX = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}


def compressed(
    weights: dict[str, Any], inputs: dict[str, Any] | None, form: str = ""
) -> dict[str, Any]:
    group = {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}
    return {"config_groups": {"group_0": {**group, "format": form}}}


def torchao(name: str, **data: Any) -> dict[str, Any]:
    return {"quant_type": {"default": {"_type": name, "_data": data, "_version": 2}}}


@pytest.mark.parametrize(
    ("method", "said", "words"),
    [
        ("gptq", {"bits": 4, "group_size": 128, "desc_act": False}, "4 bit, group 128"),
        ("gptq", {"bits": 8, "group_size": -1, "desc_act": True}, "8 bit, per channel, act order"),
        ("awq", {"bits": 4, "group_size": 128, "version": "gemm"}, "4 bit, group 128"),
        ("bitsandbytes", {"load_in_8bit": True, "load_in_4bit": False}, "8 bit int8"),
        ("bitsandbytes", {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, "4 bit nf4"),
        (
            "bitsandbytes",
            {
                "load_in_4bit": True,
                "bnb_4bit_quant_type": "nf4",
                "bnb_4bit_use_double_quant": True,
            },
            "4 bit nf4, double",
        ),
        ("compressed-tensors", compressed(FOUR_BITS, None), "W4A16 int4, group 128"),
        ("compressed-tensors", compressed(EIGHT_BITS, {"num_bits": 8}), "W8A8 int8"),
        ("compressed-tensors", compressed(FP8, {"dynamic": True}), "fp8 e4m3 dynamic"),
        ("compressed-tensors", compressed(FP8, {"dynamic": False}), "fp8 e4m3 static"),
        ("compressed-tensors", compressed(FP8, None), "fp8 e4m3 weight-only"),
        (
            "compressed-tensors",
            compressed(BLOCKS, {"dynamic": True}),
            "fp8 e4m3 dynamic, block 128x128",
        ),
        ("compressed-tensors", compressed(MX, {"dynamic": True}, "mxfp4-pack-quantized"), "mxfp4"),
        (
            "fp8",
            {"activation_scheme": "dynamic", "weight_block_size": [128, 128]},
            "fp8 e4m3 dynamic, block 128x128",
        ),
        ("fbgemm_fp8", {"activation_scale_ub": 1200.0}, "fp8 e4m3 dynamic"),
        ("mxfp4", {"modules_to_not_convert": ["lm_head"]}, "mxfp4 weight-only"),
        ("torchao", torchao("Int8WeightOnlyConfig", group_size=None), "int8 weight-only"),
        (
            "torchao",
            torchao("IntxWeightOnlyConfig", weight_dtype={"_type": "torch.dtype", "_data": "int4"}),
            "int4 weight-only",
        ),
        ("torchao", torchao("Int4WeightOnlyConfig", group_size=64), "int4 weight-only, group 64"),
        ("torchao", {"quant_type": "int8_weight_only"}, "int8 weight-only"),
        ("hqq", {"quant_config": {"nbits": 4}}, ""),
        ("gptq", {"bits": "4", "group_size": None}, ""),
        ("compressed-tensors", {"config_groups": [1]}, ""),
        ("torchao", {"quant_type": 3}, ""),
    ],
)
def test_the_scheme_is_the_method_and_the_words_are_short(
    method: str, said: dict[str, Any], words: str, tmp_path: Path
) -> None:
    hf(tmp_path / "m", quantization_config={"quant_method": method, **said}, dtype="bfloat16")
    (found,) = discover([tmp_path])
    assert (found.scheme, found.quantization) == (method, words)
    assert found.is_quantized
    assert found.quantize is None


@pytest.mark.parametrize("key", ["torch_dtype", "dtype"])
def test_the_scheme_of_unquantized_weights_is_their_type(key: str, tmp_path: Path) -> None:
    hf(tmp_path / "old", **{key: "bfloat16"})
    hf(tmp_path / "nested", text_config={key: "bfloat16", "max_position_embeddings": 4096})
    for found in discover([tmp_path]):
        assert (found.scheme, found.is_quantized, found.quantization) == ("bfloat16", False, "")
    assert discover([tmp_path / "nested"])[0].context_length == 4096


def test_a_configuration_in_another_place_counts(tmp_path: Path) -> None:
    awq = {"quant_method": "awq", "bits": 4, "group_size": 64}
    hf(tmp_path / "a", text_config={"quantization_config": awq})
    hf(tmp_path / "b", compression_config={"quant_method": "compressed-tensors"})
    hf(tmp_path / "c", quantization_config={"load_in_4bit": True})
    hf(tmp_path / "d", quantization_config="gptq")
    hf(tmp_path / "e", quantization_config=None, dtype="float16")
    assert [(a.scheme, a.is_quantized, a.quantization) for a in discover([tmp_path])] == [
        ("awq", True, "4 bit, group 64"),
        ("compressed-tensors", True, ""),
        ("bitsandbytes", True, "4 bit fp4"),
        ("unknown", True, ""),
        ("float16", False, ""),
    ]


def test_old_repositories_say_it_in_a_file_of_their_own(tmp_path: Path) -> None:
    for name, method, said in (
        ("quantize_config.json", "gptq", {"bits": 4, "group_size": 128}),
        ("quant_config.json", "awq", {"w_bit": 4, "q_group_size": 128}),
    ):
        directory = hf(tmp_path / method, torch_dtype="float16")
        (directory / name).write_text(json.dumps(said))
        (found,) = discover([directory])
        assert (found.scheme, found.quantization) == (method, "4 bit, group 128")
        assert found.is_quantized
        (directory / name).write_text("{")
        (broken,) = discover([directory])
        assert broken.problem is not None
        assert broken.problem.startswith(f"{directory}/{name}: not JSON:")


def test_no_path_and_no_control_character_gets_into_the_words(tmp_path: Path) -> None:
    place = "/home/somebody/tmp"
    hostile = {
        "bits": 4,
        "group_size": 128,
        "meta": {"offload_to_disk_path": place},
        "bnb_4bit_quant_type": place,
        "load_in_4bit": True,
        "fmt": "\x1b[31m",
        "quant_type": {"default": {"_type": place, "_data": {}}},
        "format": place,
    }
    for method in ("gptq", "awq", "bitsandbytes", "torchao", "fp8", "compressed-tensors"):
        hf(tmp_path / method, quantization_config={"quant_method": method, **hostile})
    found = discover([tmp_path])
    assert len(found) == 6
    for artifact in found:
        assert "somebody" not in artifact.quantization
        assert artifact.quantization.isprintable()
