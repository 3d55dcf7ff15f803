"""integrity.scheme of a Hugging Face directory whose tensors are stored otherwise than claimed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.hf_layouts import (
    AWQ,
    BLOCKS,
    BNB4,
    BNB4_DOUBLE,
    BNB8,
    F8,
    FP8,
    FP8_BLOCKS,
    GPTQ,
    INT8,
    NV,
    NVFP4,
    QDATA,
    TORCHAO,
    W4,
    W8A8,
    awq,
    compressed,
    double,
    gptq,
    nf4,
    scheme_of,
    w4a16,
)

if TYPE_CHECKING:
    from pathlib import Path

WRONG = {
    "gptq: bits": ({**GPTQ, "bits": 8}, gptq(), "stored in 4 bit"),
    "gptq: group": ({**GPTQ, "group_size": 64}, gptq(), "stored in 2 groups of 256 rows"),
    "gptq: no scales": (GPTQ, {k: v for k, v in gptq().items() if k != "scales"}, "without scales"),
    "gptq: g_idx": (
        GPTQ,
        {**gptq(), "g_idx": ("I32", (128,))},
        "g_idx does not fit: I32 32 x 128 and I32 128",
    ),
    "gptq: scales": (
        GPTQ,
        {**gptq(), "scales": ("F16", (3, 128))},
        "do not fit: I32 2 x 16 and F16 3 x 128",
    ),
    "gptq: floats": (
        GPTQ,
        {**gptq(), "qweight": ("F32", (32, 128))},
        "got F32 32 x 128 and I32 2 x 16 and F16 2 x 128",
    ),
    "gptq stored as awq": (GPTQ, awq(), "do not fit: I32 2 x 16 and F16 2 x 128"),
    "awq: bits": ({**AWQ, "bits": 8}, awq(), "stored in 4 bit"),
    "awq: group": ({**AWQ, "group_size": 32}, awq(), "stored in 2 groups of 256 rows"),
    "awq stored as gptq": (AWQ, gptq(), "qzeros do not fit"),
    "nf4: kind": (BNB4, nf4("fp4"), "stored as fp4"),
    "nf4: blocks": (BNB4, nf4(blocks=7), "do not fit: U8 16384 x 1 and F32 7"),
    "nf4: double": (BNB4_DOUBLE, nf4(), "without double quantization"),
    "nf4: not double": (BNB4, double(), "with double quantization"),
    "nf4 stored as int8": (BNB4, INT8, "without absmax or quant_state"),
    "int8 stored as nf4": (BNB8, nf4(), "not int8 with SCB"),
    "int8: scales": (
        BNB8,
        {**INT8, "SCB": ("F32", (7,))},
        "SCB does not fit: I8 128 x 256 and F32 7",
    ),
    "w4a16: bits": (
        compressed("pack-quantized", num_bits=8, type="int", strategy="group", group_size=128),
        w4a16(),
        "weights and scales do not fit: 128 x 32 and 128 x 2",
    ),
    "w4a16: group": (W4, w4a16(4), "weights and scales do not fit: 128 x 32 and 128 x 4"),
    "w4a16 stored as fp8": (W4, FP8, "stored in F8_E4M3"),
    "fp8 stored as int8": (F8, W8A8, "stored in I8"),
    "fp8: no scale": (F8, {"weight": FP8["weight"]}, "without weight_scale"),
    "nvfp4: scales": (NV, {**NVFP4, "weight_scale": ("F8_E4M3", (128, 8))}, "do not fit"),
    "fp8 in blocks: scales": (BLOCKS, {**FP8_BLOCKS, "weight_scale_inv": ("F32", (2, 2))}, "fit"),
    "torchao: type": (
        TORCHAO,
        {**QDATA, "_weight_qdata": ("F8_E4M3", (128, 256))},
        "stored in F8_E4M3",
    ),
    "torchao: no scale": (
        TORCHAO,
        {"_weight_qdata": QDATA["_weight_qdata"]},
        "without qdata or scale",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_stored_otherwise_fails_by_its_module(name: str, tmp_path: Path) -> None:
    claim, module, problem = WRONG[name]
    finding = scheme_of(tmp_path, claim, module)
    assert not finding.holds
    head = f"integrity.scheme: claims {claim['quant_method']}, but 1 of 1 modules are not: "
    assert finding.message.startswith(f"{head}model.layers.0.mlp.up_proj: ")
    assert problem in finding.message
