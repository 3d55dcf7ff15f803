"""integrity.scheme of Hugging Face directories: the claim is how the tensors are stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.artifacts.hf.modules import is_skipped
from qgate.errors import ArtifactError
from qgate.measure.integrity.hf import check_scheme
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
    MX,
    MXFP4,
    NV,
    NVFP4,
    PLAIN,
    QDATA,
    TORCHAO,
    W4,
    W8,
    W8A8,
    Tensors,
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


SOUND: dict[str, tuple[dict[str, Any], Tensors]] = {
    "gptq": (GPTQ, gptq()),
    "gptq of 8 bits": ({**GPTQ, "bits": 8}, gptq(8)),
    "gptq of 3 bits": ({**GPTQ, "bits": 3}, gptq(3)),
    "gptq in one group": ({**GPTQ, "group_size": -1}, gptq(4, 1)),
    "gptq of old": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, gptq()),
    "awq": (AWQ, awq()),
    "awq of old": ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, awq()),
    "nf4": (BNB4, nf4()),
    "nf4 double": (BNB4_DOUBLE, double()),
    "int8": (BNB8, INT8),
    "w4a16": (W4, w4a16()),
    "w8a8": (W8, W8A8),
    "fp8": (F8, FP8),
    "nvfp4": (NV, NVFP4),
    "mxfp4": (MX, MXFP4),
    "fp8 in blocks": (BLOCKS, FP8_BLOCKS),
    "fbgemm": ({"quant_method": "fbgemm_fp8"}, FP8),
    "torchao": (TORCHAO, QDATA),
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_stored_as_claimed_holds(name: str, tmp_path: Path) -> None:
    claim, module = SOUND[name]
    finding = scheme_of(tmp_path, claim, module, module)
    assert finding.holds, finding.message
    assert finding.message.startswith(f"integrity.scheme: {claim['quant_method']}")
    assert (finding.details["n_quantized"], finding.details["n_left_unquantized"]) == (2, 0)


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


@pytest.mark.parametrize("name", SOUND)
def test_what_is_not_quantized_at_all_fails(name: str, tmp_path: Path) -> None:
    claim, _ = SOUND[name]
    finding = scheme_of(tmp_path, claim, PLAIN, PLAIN)
    method = claim["quant_method"]
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.scheme: claims {method}, but none of 2 weight matrices is quantized; stored as "
        "BF16 100% of the weight bytes. Quantize it again, or name it rightly.",
    )


@pytest.mark.parametrize("name", SOUND)
def test_what_is_quantized_to_less_than_half_fails(name: str, tmp_path: Path) -> None:
    claim, module = SOUND[name]
    assert scheme_of(tmp_path / "half", claim, module, PLAIN).holds
    finding = scheme_of(tmp_path, claim, module, PLAIN, PLAIN)
    assert not finding.holds
    assert "but only 33% of the weights are quantized; not model.layers.1" in finding.message


@pytest.mark.parametrize("name", SOUND)
def test_quantized_weights_without_a_claim_fail(name: str, tmp_path: Path) -> None:
    finding = scheme_of(tmp_path, {}, SOUND[name][1], dtype="bfloat16")
    assert not finding.holds
    assert "claims no quantization, but 1 modules hold quantized weights" in finding.message


def test_modules_that_are_listed_as_skipped_do_not_count(tmp_path: Path) -> None:
    for number, key in enumerate(("modules_to_not_convert", "ignore", "llm_int8_skip_modules")):
        for name in ("model.layers.1.mlp.up_proj", "model.layers.1", "re:model.layers.1.*"):
            claim = {**BNB8, key: [name, "lm_head"]}
            directory = tmp_path / f"{number}{name[:4]}{len(name)}"
            finding = scheme_of(directory, claim, INT8, PLAIN)
            assert finding.details["n_left_unquantized"] == 0


def test_groups_of_some_modules_may_differ(tmp_path: Path) -> None:
    dynamic = {"+:.*up_proj.*": {"bits": 8, "group_size": 64}}
    finding = scheme_of(tmp_path, {**GPTQ, "dynamic": dynamic}, gptq(), gptq(8, 4))
    assert finding.holds, finding.message


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        ({"quant_method": "hqq"}, "got method 'hqq'; expected awq, bitsandbytes,"),
        ({}, ""),
        ({**GPTQ, "checkpoint_format": "marlin"}, "got checkpoint_format 'marlin' of gptq"),
        ({**AWQ, "version": "gemv"}, "got version 'gemv' of awq"),
        (compressed("marlin-24", num_bits=4), "got format marlin-24; expected"),
    ],
)
def test_a_method_that_cannot_be_read_is_an_error_and_no_pass(
    claim: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    if not claim:
        assert not scheme_of(tmp_path, claim, gptq()).holds
        return
    with pytest.raises(ArtifactError) as refused:
        scheme_of(tmp_path, claim, gptq())
    assert str(refused.value).startswith(
        f"integrity.scheme: this version cannot read such tensors: {problem}"
    )


def test_unquantized_weights_are_of_the_type_that_is_claimed(tmp_path: Path) -> None:
    assert scheme_of(tmp_path / "a", {}, PLAIN, dtype="bfloat16").holds
    assert scheme_of(tmp_path / "b", {}, PLAIN).holds
    finding = scheme_of(tmp_path / "c", {}, PLAIN, torch_dtype="float32")
    assert (finding.holds, finding.message) == (
        False,
        "integrity.scheme: claims float32, but no weight matrix is F32; stored as BF16 100% of the "
        "weight bytes. Quantize it again, or name it rightly.",
    )


def test_weights_that_are_quantized_while_loading_are_stored_unquantized(tmp_path: Path) -> None:
    scheme_of(tmp_path, {}, PLAIN, dtype="bfloat16")
    asked = "quantize: {method: bitsandbytes, load_in_4bit: true, bnb_4bit_quant_type: nf4}"
    (tmp_path / "m" / "qgate.yaml").write_text(asked)
    (artifact,) = discover([tmp_path / "m"])
    finding = check_scheme(artifact)
    assert (finding.holds, finding.message) == (
        True,
        "integrity.scheme: bitsandbytes, 4 bit nf4, while loading; stored as BF16 100% of the "
        "weight bytes",
    )


def test_patterns_are_understood_as_far_as_they_are_plain() -> None:
    name = "model.layers.10.self_attn.q_proj"
    for pattern in (
        name,
        "q_proj",
        "self_attn",
        "model.layers.10",
        "re:.*q_proj",
        "re:.*q_proj$",
        "re:model\\.layers.*self_attn.*",
        "re:^model.layers.10",
    ):
        assert is_skipped(name, [pattern]), pattern
    for pattern in (
        "",
        "proj",
        "model.layers.1",
        "layers.0",
        "re:q_proj",
        "re:.*self_attn$",
        "re:.*k_proj.*",
        "re:(.+)+$",
        "re:.*[",
        None,
        3,
    ):
        assert not is_skipped(name, [pattern]), pattern
