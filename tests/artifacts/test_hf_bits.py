"""Bits of Hugging Face directories: what each method stores, as its own tool lays it out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.artifacts.bits import Stored, effective_bits
from qgate.thresholds import band_of
from tests.support.hf_layouts import (
    PLAIN,
    UNQUANTIZED,
    Tensors,
    awq,
    double,
    gptq,
    nf4,
)
from tests.support.safetensors_files import write_model

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Bits

INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 64}
INT8 = {"num_bits": 8, "type": "int", "strategy": "channel"}
FP8 = {"num_bits": 8, "type": "float", "strategy": "channel"}
FP4 = {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}
INT8_CHANNEL: Tensors = {"weight": ("I8", (128, 256)), "weight_scale": ("F16", (128, 1))}
INT8_GROUP: Tensors = {
    "weight_packed": ("I32", (128, 64)),
    "weight_scale": ("F16", (128, 8)),
    "weight_shape": ("I64", (2,)),
}
FP8_CHANNEL: Tensors = {"weight": ("F8_E4M3", (128, 256)), "weight_scale": ("F32", (128, 1))}
INT4_GROUP: Tensors = {
    "weight_packed": ("I32", (128, 32)),
    "weight_scale": ("F16", (128, 4)),
    "weight_shape": ("I64", (2,)),
}
NVFP4: Tensors = {
    "weight_packed": ("U8", (128, 128)),
    "weight_scale": ("F8_E4M3", (128, 16)),
    "weight_global_scale": ("F32", (1,)),
    "input_global_scale": ("F32", (1,)),
}


def compressed(weights: dict[str, Any], inputs: int | None, form: str) -> dict[str, Any]:
    activations = None if inputs is None else {"num_bits": inputs, "dynamic": True}
    group = {"weights": weights, "input_activations": activations, "targets": ["Linear"]}
    return {"config_groups": {"group_0": {**group, "format": form}}, "format": form}


def found(
    directory: Path, tensors: Tensors, quantization: dict[str, Any] | None, **config: Any
) -> Bits | None:
    named = {f"model.layers.0.mlp.up_proj.{part}": one for part, one in tensors.items()}
    write_model(directory, {**UNQUANTIZED, **named})
    said = {"quantization_config": quantization} if quantization else {}
    (directory / "config.json").write_text(json.dumps({"model_type": "llama", **said, **config}))
    (artifact,) = discover([directory])
    return artifact.bits


KINDS = {
    "bf16": (PLAIN, None, (16.0, 16.0, 16), "16 bits"),
    "gptq": (gptq(), {"quant_method": "gptq", "bits": 4}, (4.1562, 4.1562, 16), "4 bits"),
    "gptq, 8 bit": (gptq(8), {"quant_method": "gptq", "bits": 8}, (8.1875, 8.1875, 16), "8 bits"),
    "gptq, 3 bit": (gptq(3), {"quant_method": "gptq", "bits": 3}, (3.1484, 3.1484, 16), "3 bits"),
    "auto-round": (
        gptq(2), {"quant_method": "auto-round", "bits": 2}, (2.1406, 2.1406, 16), "2 bits",
    ),
    "awq": (awq(), {"quant_method": "awq", "bits": 4}, (4.1562, 4.1562, 16), "4 bits"),
    "nf4": (
        nf4(), {"quant_method": "bitsandbytes", "load_in_4bit": True}, (4.5, 4.5, 16), "4 bits",
    ),
    "nf4, double": (
        double(), {"quant_method": "bitsandbytes", "load_in_4bit": True}, (4.127, 4.127, 16),
        "4 bits",
    ),
    "bitsandbytes int8": (
        {"weight": ("I8", (128, 256)), "SCB": ("F32", (128,))},
        {"quant_method": "bitsandbytes", "load_in_8bit": True}, (8.125, 8.125, 16), "8 bits",
    ),
    "int8 by channel": (
        INT8_CHANNEL,
        {"quant_method": "compressed-tensors", **compressed(INT8, None, "int-quantized")},
        (8.0625, 8.0625, 16), "8 bits",
    ),
    "int8 in groups of 32": (
        INT8_GROUP,
        {
            "quant_method": "compressed-tensors",
            **compressed({**INT8, "strategy": "group", "group_size": 32}, None, "pack-quantized"),
        },
        (8.5, 8.5, 16), "8 bits",
    ),
    "w8a8": (
        INT8_CHANNEL,
        {"quant_method": "compressed-tensors", **compressed(INT8, 8, "int-quantized")},
        (8.0625, 8.0625, 8), "8-bit activations",
    ),
    "fp8 with quantized inputs": (
        FP8_CHANNEL,
        {"quant_method": "compressed-tensors", **compressed(FP8, 8, "float-quantized")},
        (6.0, 8.125, 8), "8-bit activations",
    ),
    "fp8 weights alone": (
        FP8_CHANNEL,
        {"quant_method": "compressed-tensors", **compressed(FP8, None, "float-quantized")},
        (6.0, 8.125, 16), "6-5 bits",
    ),
    "w4a16": (
        INT4_GROUP,
        {"quant_method": "compressed-tensors", **compressed(INT4, None, "pack-quantized")},
        (4.25, 4.25, 16), "4 bits",
    ),
    "nvfp4, w4a4": (
        NVFP4,
        {"quant_method": "compressed-tensors", **compressed(FP4, 4, "nvfp4-pack-quantized")},
        (4.501, 4.501, 4), "4-bit activations",
    ),
    "mxfp4": (
        {"blocks": ("U8", (128, 8, 16)), "scales": ("U8", (128, 8))},
        {"quant_method": "mxfp4"}, (4.25, 4.25, 16), "4 bits",
    ),
    "deepseek's fp8": (
        {"weight": ("F8_E4M3", (128, 256)), "weight_scale_inv": ("F32", (1, 2))},
        {"quant_method": "fp8", "weight_block_size": [128, 128]}, (6.0, 8.002, 8),
        "8-bit activations",
    ),
    "torchao int8": (
        {"_weight_qdata": ("I8", (128, 256)), "_weight_scale": ("BF16", (128,))},
        {
            "quant_method": "torchao",
            "quant_type": {"default": {"_type": "Int8WeightOnlyConfig", "_data": {}}},
        },
        (8.0625, 8.0625, 16), "8 bits",
    ),
    "torchao int8 with quantized inputs": (
        {"_weight_qdata": ("I8", (128, 256)), "_weight_scale": ("BF16", (128,))},
        {
            "quant_method": "torchao",
            "quant_type": {
                "default": {"_type": "Int8DynamicActivationInt8WeightConfig", "_data": {}}
            },
        },
        (8.0625, 8.0625, 8), "8-bit activations",
    ),
    "hqq": (
        {"W_q": ("U8", (128, 128)), "scale": ("F16", (512, 1)), "zero": ("F16", (512, 1))},
        {
            "quant_method": "hqq",
            "quant_config": {"weight_quant_params": {"nbits": 4, "group_size": 64}},
        },
        (4.5, 4.5, 16), "4 bits",
    ),
    "modelopt nvfp4": (
        {
            "weight": ("U8", (128, 128)), "weight_scale": ("F8_E4M3", (128, 16)),
            "input_scale": ("F32", ()),
        },
        {"quant_method": "modelopt", "quant_algo": "NVFP4"}, (4.5, 4.5, 4), "4-bit activations",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_bits_of_each_method(kind: str, tmp_path: Path) -> None:
    tensors, quantization, (effective, mean, activations), band = KINDS[kind]
    dimensions = {"hidden_size": 256, "intermediate_size": 128, "num_attention_heads": 4}
    bits = found(tmp_path / "m", tensors, quantization, **dimensions)
    assert bits is not None
    assert bits.effective == pytest.approx(effective, abs=1e-3)
    assert bits.mean == pytest.approx(mean, abs=1e-3)
    assert (bits.activations, bits.embedding, bits.output) == (activations, 16.0, 16.0)
    assert band_of(bits).name == band


@pytest.mark.parametrize(
    ("kind", "group"),
    [("int8 by channel", 0), ("int8 in groups of 32", 32), ("w4a16", 64), ("nf4", 64)],
)
def test_a_group_is_told_from_a_whole_channel(kind: str, group: int, tmp_path: Path) -> None:
    tensors, quantization, _, _ = KINDS[kind]
    bits = found(tmp_path / "m", tensors, quantization)
    assert bits is not None
    assert bits.group == group or (kind == "int8 by channel" and bits.group == 256)


UNKNOWN = {"quant_method": "quark"}
PACKED: Tensors = {"weight": ("I32", (128, 24)), "weight_scale": ("F16", (128, 4))}


def test_an_unknown_method_is_told_from_bytes_over_the_models_dimensions(tmp_path: Path) -> None:
    bits = found(tmp_path / "m", PACKED, UNKNOWN, hidden_size=256, intermediate_size=128)
    assert bits is not None
    assert bits.effective == pytest.approx(3.25)
    assert band_of(bits).name == "3 bits"


def test_what_nothing_tells_is_not_guessed(tmp_path: Path) -> None:
    bits = found(tmp_path / "m", PACKED, UNKNOWN)
    assert bits is None
    assert band_of(bits).name == "4 bits"


def test_weights_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    found(tmp_path / "m", PLAIN, None)
    (tmp_path / "m" / "model.safetensors").write_bytes(b"\x00" * 40)
    (artifact,) = discover([tmp_path / "m"])
    assert artifact.bits is None


@pytest.mark.parametrize(
    ("quantize", "effective", "band"),
    [
        ("{method: bitsandbytes, load_in_8bit: true}", 8.0, "8 bits"),
        ("{method: bitsandbytes, load_in_4bit: true, bnb_4bit_quant_type: nf4}", 4.5, "4 bits"),
        (
            "{method: bitsandbytes, load_in_4bit: true, bnb_4bit_use_double_quant: true}",
            4.127,
            "4 bits",
        ),
        ("{method: torchao, quant_type: int8_weight_only}", 8.0, "8 bits"),
        (
            "{method: torchao, quant_type: int8_dynamic_activation_int8_weight}",
            8.0,
            "8-bit activations",
        ),
        ("{method: torchao, quant_type: float8_weight_only}", 6.0, "6-5 bits"),
    ],
)
def test_what_is_quantized_while_loading_is_told_from_what_is_asked(
    quantize: str, effective: float, band: str, tmp_path: Path
) -> None:
    found(tmp_path / "m", PLAIN, None)
    (tmp_path / "m" / "qgate.yaml").write_text(f"quantize: {quantize}\n")
    (artifact,) = discover([tmp_path / "m"])
    assert artifact.bits is not None
    assert artifact.bits.effective == pytest.approx(effective, abs=1e-3)
    assert (artifact.bits.embedding, artifact.bits.output) == (16.0, 16.0)
    assert band_of(artifact.bits).name == band


def test_one_weight_in_eight_at_two_bits_decides() -> None:
    mix = [Stored(weights=7, bits=8, effective=8), Stored(weights=1, bits=2, effective=2)]
    assert effective_bits(mix) == pytest.approx(3.5, abs=0.01)
