"""The scheme row: a claim that the tensors bear out holds, one they contradict fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts.gguf.header import GgufHeader, read_header
from qgate.artifacts.gguf.types import FILE_TYPES
from qgate.measure.integrity.gguf import check_scheme
from tests.support.gguf_tensors import layers, write

if TYPE_CHECKING:
    from pathlib import Path


def number_of(scheme: str) -> int:
    return next(number for number, name in FILE_TYPES.items() if name == scheme)


def scheme_headers(
    path: Path, scheme: str | int | None, tensors: list[tuple[str, str, tuple[int, ...]]]
) -> list[GgufHeader]:
    claim = number_of(scheme) if isinstance(scheme, str) else scheme
    metadata = {} if claim is None else {"general.file_type": claim}
    return [read_header(write(path, tensors, metadata=metadata))]


def narrow(*types: str) -> list[tuple[str, str, tuple[int, ...]]]:
    """Matrices whose rows have 160 elements: five blocks of 32, no block of 256."""
    return [(f"blk.{index}.w", name, (160, 4)) for index, name in enumerate(types)]


@pytest.mark.parametrize(
    ("scheme", "tensors", "message"),
    [
        (
            "Q4_K_M",
            layers(Q4_K=7, Q6_K=1),
            "Q4_K_M; stored as Q4_K 83%, Q6_K 17% of the weight bytes, 4.76 bits per weight",
        ),
        (
            "F16",
            layers(F16=3),
            "F16; stored as F16 100% of the weight bytes, 16.00 bits per weight",
        ),
        (
            "Q4_K_M",
            narrow("Q5_0", "Q8_0"),
            "Q4_K_M; stored as Q8_0 61%, Q5_0 39% of the weight bytes, 7.00 bits per weight",
        ),
        (
            "MXFP4_MOE",
            layers(Q8_0=4),
            "MXFP4_MOE; stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            None,
            layers(Q8_0=1),
            "no file type claimed; stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
    ],
    ids=["mix", "unquantized", "rows too short for blocks of 256", "dense mxfp4", "no claim"],
)
def test_a_scheme_that_the_tensors_bear_out_holds(
    scheme: str | None, tensors: Any, message: str, tmp_path: Path
) -> None:
    finding = check_scheme(scheme_headers(tmp_path / "m.gguf", scheme, tensors))
    assert (finding.holds, finding.message) == (True, f"integrity.scheme: {message}")


@pytest.mark.parametrize(
    ("scheme", "tensors", "wrong"),
    [
        (
            "Q4_K_M",
            layers(F16=4),
            "claims Q4_K_M, but none of 4 weight tensors is quantized; "
            "stored as F16 100% of the weight bytes, 16.00 bits per weight",
        ),
        (
            "Q4_K_M",
            layers(Q4_K=4, F16=2),
            "claims Q4_K_M, but only 36% of the weight bytes are quantized; "
            "stored as F16 64%, Q4_K 36% of the weight bytes, 8.33 bits per weight",
        ),
        (
            "Q6_K",
            layers(Q8_0=4),
            "claims Q6_K, but no weight tensor is Q6_K (4 could be); "
            "stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            "Q8_0",
            layers(Q8_0=1, Q2_K=9),
            "claims Q8_0: got 3.21 bits per weight; expected 6.80 to 10.50; "
            "stored as Q2_K 74%, Q8_0 26% of the weight bytes, 3.21 bits per weight",
        ),
        (
            "Q2_K",
            layers(Q2_K=3, Q8_0=3),
            "claims Q2_K: got 5.56 bits per weight; expected 2.10 to 4.62; "
            "stored as Q8_0 76%, Q2_K 24% of the weight bytes, 5.56 bits per weight",
        ),
        (
            "F16",
            layers(F16=3, Q4_0=1),
            "claims F16, but 1 of 4 are quantized: blk.3.w; "
            "stored as F16 91%, Q4_0 9% of the weight bytes, 13.12 bits per weight",
        ),
        (
            "F16",
            layers(F32=3),
            "claims F16, but no weight tensor is F16 (3 could be); "
            "stored as F32 100% of the weight bytes, 32.00 bits per weight",
        ),
        (
            999,
            layers(Q8_0=1),
            "general.file_type is not a known file type; "
            "stored as Q8_0 100% of the weight bytes, 8.50 bits per weight",
        ),
        (
            "Q8_0",
            [("norm", "F32", (8,))],
            "no tensor has two dimensions: there are no weights; stored as nothing",
        ),
    ],
)
def test_a_scheme_that_the_tensors_contradict_fails(
    scheme: str | int, tensors: Any, wrong: str, tmp_path: Path
) -> None:
    finding = check_scheme(scheme_headers(tmp_path / "m.gguf", scheme, tensors))
    expected = f"integrity.scheme: {wrong}. Quantize it again, or name it rightly."
    assert (finding.holds, finding.message) == (False, expected)


def test_the_scheme_row_keeps_the_histogram(tmp_path: Path) -> None:
    headers = scheme_headers(tmp_path / "m.gguf", "Q4_K_M", layers(Q4_K=7, Q6_K=1))
    assert check_scheme(headers).details == {
        "scheme": "Q4_K_M",
        "bytes_by_type": {"Q4_K": 7 * 4 * 144, "Q6_K": 4 * 210},
        "bits_per_weight": 4.7578,
    }


# Models whose width is no multiple of 256


def narrow_model(
    of_rows: str, of_down: str, head: str = "Q8_0"
) -> list[tuple[str, str, tuple[int, ...]]]:
    """One layer of SmolLM2's kind: all rows of 576 but those of ffn_down, which have 1536."""
    names = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up")
    layer = [(f"blk.0.{name}.weight", of_rows, (576, 64)) for name in names]
    down = ("blk.0.ffn_down.weight", of_down, (1536, 64))
    return [("token_embd.weight", head, (576, 256)), *layer, down]


@pytest.mark.parametrize(
    ("scheme", "of_rows", "of_down"),
    [
        ("Q2_K", "Q4_0", "Q3_K"),
        ("Q3_K_M", "Q4_0", "Q4_K"),
        ("Q4_K_M", "Q5_0", "Q6_K"),
        ("Q5_K_M", "Q5_1", "Q6_K"),
        ("Q6_K", "Q8_0", "Q6_K"),
        ("IQ3_XXS", "IQ4_NL", "IQ3_XXS"),
        ("IQ4_XS", "IQ4_NL", "IQ4_XS"),
    ],
)
def test_what_llama_cpp_makes_of_a_narrow_model_holds(
    scheme: str, of_rows: str, of_down: str, tmp_path: Path
) -> None:
    headers = scheme_headers(tmp_path / "m.gguf", scheme, narrow_model(of_rows, of_down))
    finding = check_scheme(headers)
    assert finding.holds, finding.message


@pytest.mark.parametrize(
    ("scheme", "of_rows", "of_down"),
    [
        ("Q4_K_M", "Q4_0", "Q3_K"),  # Q2_K inside
        ("Q5_K_M", "Q5_0", "Q4_K"),  # Q4_K_M inside
        ("Q6_K", "Q5_0", "Q4_K"),
        ("Q8_0", "Q4_0", "Q3_K"),
        ("Q2_K", "Q8_0", "Q8_0"),
    ],
)
def test_a_narrow_model_of_another_scheme_fails(
    scheme: str, of_rows: str, of_down: str, tmp_path: Path
) -> None:
    headers = scheme_headers(tmp_path / "m.gguf", scheme, narrow_model(of_rows, of_down))
    assert not check_scheme(headers).holds


def test_a_mix_with_too_few_bits_in_its_layers_fails_whatever_its_embedding_has(
    tmp_path: Path,
) -> None:
    tensors = [("token_embd.weight", "Q8_0", (1024, 64)), *layers(Q4_K=6, Q2_K=4)]
    finding = check_scheme(scheme_headers(tmp_path / "m.gguf", "Q4_K_M", tensors))
    assert not finding.holds
    assert finding.message.startswith(
        "integrity.scheme: claims Q4_K_M: got 3.21 effective bits a weight in its layers; "
        "expected at least 4.00; stored as Q8_0 "
    )


def test_a_large_embedding_of_more_bits_is_no_contradiction(tmp_path: Path) -> None:
    """Gemma 3 270M keeps five eighths of its weights there, as Q8_0."""
    tensors = narrow_model("Q4_0", "Q3_K")
    tensors[0] = ("token_embd.weight", "Q8_0", (576, 1024))
    assert check_scheme(scheme_headers(tmp_path / "m.gguf", "Q2_K", tensors)).holds


@pytest.mark.parametrize(
    ("name", "holds"),
    [
        ("model-Q2_K.gguf", True),
        ("model.gguf", True),
        ("model-UD-Q4_K_XL.gguf", True),
        ("model-Q3_K_L-from-F16.gguf", False),
        ("model_Q4_K_M.gguf", False),
        ("model.q4_k_m.gguf", False),
        ("Model-Q8_0-00001-of-00001.gguf", False),
    ],
)
def test_a_file_that_is_named_for_more_bits_than_it_has_fails(
    name: str, holds: bool, tmp_path: Path
) -> None:
    tensors = [("token_embd.weight", "Q6_K", (1024, 64)), *layers(Q2_K=6, Q3_K=2)]
    finding = check_scheme(scheme_headers(tmp_path / name, "Q2_K", tensors))
    assert finding.holds is holds
    assert holds or "is named Q" in finding.message
