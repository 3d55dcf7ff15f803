"""Quantized modules as the tools lay them out in a Hugging Face directory, and what they claim.

Written by hand: a module of 256 inputs and 128 outputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.artifacts import discover
from qgate.measure.integrity.hf import check_scheme
from tests.support.safetensors_files import write_model

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.measure.measurement import Finding

Tensors = dict[str, tuple[str, tuple[int, ...]]]
UNQUANTIZED: Tensors = {
    "model.embed_tokens.weight": ("BF16", (512, 256)),
    "model.norm.weight": ("BF16", (256,)),
    "lm_head.weight": ("BF16", (512, 256)),
}
PLAIN: Tensors = {"weight": ("BF16", (128, 256))}


def gptq(bits: int = 4, groups: int = 2) -> Tensors:
    return {
        "qweight": ("I32", (256 * bits // 32, 128)),
        "qzeros": ("I32", (groups, 128 * bits // 32)),
        "scales": ("F16", (groups, 128)),
        "g_idx": ("I32", (256,)),
    }


def awq(bits: int = 4, groups: int = 2) -> Tensors:
    return {
        "qweight": ("I32", (256, 128 * bits // 32)),
        "qzeros": ("I32", (groups, 128 * bits // 32)),
        "scales": ("F16", (groups, 128)),
    }


def nf4(kind: str = "nf4", blocks: int = 512) -> Tensors:
    return {
        "weight": ("U8", (128 * 256 // 2, 1)),
        "weight.absmax": ("F32", (blocks,)),
        "weight.quant_map": ("F32", (16,)),
        f"weight.quant_state.bitsandbytes__{kind}": ("U8", (79,)),
    }


def double() -> Tensors:
    nested: Tensors = {
        "weight.absmax": ("U8", (512,)),
        "weight.nested_absmax": ("F32", (2,)),
        "weight.nested_quant_map": ("F32", (256,)),
    }
    return {**nf4(), **nested}


INT8: Tensors = {"weight": ("I8", (128, 256)), "SCB": ("F32", (128,))}
FP8: Tensors = {"weight": ("F8_E4M3", (128, 256)), "weight_scale": ("BF16", (128, 1))}
FP8_BLOCKS: Tensors = {"weight": ("F8_E4M3", (128, 256)), "weight_scale_inv": ("F32", (1, 2))}
W8A8: Tensors = {"weight": ("I8", (128, 256)), "weight_scale": ("BF16", (128, 1))}
NVFP4: Tensors = {
    "weight_packed": ("U8", (128, 128)),
    "weight_scale": ("F8_E4M3", (128, 16)),
    "weight_global_scale": ("F32", (1,)),
}
MXFP4: Tensors = {"weight_packed": ("U8", (128, 128)), "weight_scale": ("U8", (128, 8))}
QDATA: Tensors = {"_weight_qdata": ("I8", (128, 256)), "_weight_scale": ("F32", (128, 1))}


def w4a16(groups: int = 2) -> Tensors:
    return {
        "weight_packed": ("I32", (128, 32)),
        "weight_scale": ("BF16", (128, groups)),
        "weight_shape": ("I64", (2,)),
    }


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "checkpoint_format": "gptq"}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
BNB4 = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
BNB4_DOUBLE = {**BNB4, "bnb_4bit_use_double_quant": True}
BNB8 = {"quant_method": "bitsandbytes", "load_in_8bit": True}
TORCHAO = {"quant_method": "torchao", "quant_type": {"default": {"_type": "Int8WeightOnlyConfig"}}}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def compressed(form: str, **weights: Any) -> dict[str, Any]:
    group = {"weights": weights, "targets": ["Linear"], "format": form}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


W4 = compressed("pack-quantized", num_bits=4, type="int", strategy="group", group_size=128)
W8 = compressed("int-quantized", num_bits=8, type="int", strategy="channel")
F8 = compressed("float-quantized", num_bits=8, type="float", strategy="channel")
NV = compressed("nvfp4-pack-quantized", num_bits=4, type="float", group_size=16)
MX = compressed("mxfp4-pack-quantized", num_bits=4, type="float", group_size=32)


def scheme_of(tmp_path: Path, claim: dict[str, Any], *modules: Tensors, **config: Any) -> Finding:
    """Of a model whose layers are these modules, beside an embedding and an output matrix."""
    tensors = dict(UNQUANTIZED)
    for number, module in enumerate(modules):
        for part, stored in module.items():
            tensors[f"model.layers.{number}.mlp.up_proj.{part}"] = stored
    write_model(tmp_path / "m", tensors, quantization_config=claim or None, **config)
    (artifact,) = discover([tmp_path / "m"])
    assert artifact.problem is None
    return check_scheme(artifact)
