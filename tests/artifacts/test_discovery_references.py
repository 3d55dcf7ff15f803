"""The reference: which artifact is taken for it, and where it is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgate.artifacts import beside, choose_reference, discover
from qgate.errors import UsageError
from tests.artifacts.model_files import BF16, F16, F32, gguf, hf, ids


def test_the_reference_is_the_most_exact_unquantized_artifact(tmp_path: Path) -> None:
    broken = tmp_path / "broken-F32.gguf"
    broken.write_bytes(b"GGUF")
    gguf(tmp_path / "q.gguf")
    assert choose_reference(discover([tmp_path]), None) is None
    hf(tmp_path / "hf", dtype="float32")
    for name, file_type, tensor_type in (("f16", 1, F16), ("bf16", 32, BF16), ("f32", 0, F32)):
        gguf(tmp_path / f"{name}.gguf", file_type=file_type, tensor_type=tensor_type)
        chosen = choose_reference(discover([tmp_path]), None)
        assert chosen is not None
        assert chosen.id == name


def test_the_named_reference_is_taken_whatever_else_there_is(tmp_path: Path) -> None:
    gguf(tmp_path / "f32.gguf", file_type=0, tensor_type=F32)
    (named,) = discover([gguf(tmp_path / "q.gguf")])
    assert choose_reference(discover([tmp_path]), named) is named


def test_two_equally_good_references_are_a_usage_error(tmp_path: Path) -> None:
    gguf(tmp_path / "a.gguf", file_type=1, tensor_type=F16)
    gguf(tmp_path / "b.gguf", file_type=1, tensor_type=F16)
    with pytest.raises(UsageError) as refused:
        choose_reference(discover([tmp_path]), None)
    assert str(refused.value) == (
        "--qgate-reference: 2 artifacts could be the reference: a, b. "
        "Name one with --qgate-reference PATH."
    )


def test_a_reference_is_looked_for_directly_beside_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = gguf(tmp_path / "f16.gguf", file_type=1, tensor_type=F16)
    quantized = gguf(tmp_path / "q8.gguf")
    (tmp_path / "broken.gguf").touch()
    gguf(tmp_path / "other" / "far.gguf", file_type=1, tensor_type=F16)
    awq = hf(tmp_path / "awq", quantization_config={"quant_method": "awq"})
    hf(tmp_path / "base", dtype="bfloat16")
    assert ids(beside([quantized])) == ["base", "f16"]
    assert ids(beside([awq])) == ["base", "f16"]
    assert ids(beside([reference])) == ["base"]
    assert ids(beside([tmp_path / "other" / "far.gguf"])) == []
    monkeypatch.chdir(tmp_path)
    assert ids(beside([Path("q8.gguf")])) == ["base", "f16"]


def quantized(directory: Path) -> Path:
    return hf(directory, quantization_config={"quant_method": "awq"})


def chosen(directory: Path) -> str | None:
    found = choose_reference(discover([directory]), None)
    return found and found.id


def test_where_anything_quantized_is_hugging_face_the_reference_is_too(tmp_path: Path) -> None:
    gguf(tmp_path / "q.gguf")
    quantized(tmp_path / "awq")
    gguf(tmp_path / "f32.gguf", file_type=0, tensor_type=F32)
    assert chosen(tmp_path) == "f32"  # the only one there is
    hf(tmp_path / "base", dtype="float16")
    assert chosen(tmp_path) == "base"


def test_where_all_that_is_quantized_is_gguf_the_reference_is_too(tmp_path: Path) -> None:
    gguf(tmp_path / "q.gguf")
    hf(tmp_path / "base", dtype="bfloat16")
    assert chosen(tmp_path) == "base"  # the only one there is
    gguf(tmp_path / "f16.gguf", file_type=1, tensor_type=F16)
    assert chosen(tmp_path) == "f16"


def test_where_nothing_is_quantized_what_was_converted_is_not_the_reference(tmp_path: Path) -> None:
    hf(tmp_path / "base", dtype="bfloat16")
    gguf(tmp_path / "bf16.gguf", file_type=32, tensor_type=BF16)
    assert chosen(tmp_path) == "base"


def test_weights_that_are_quantized_while_loading_are_never_the_reference(tmp_path: Path) -> None:
    asked = hf(tmp_path / "nf4", dtype="float32") / "qgate.yaml"
    asked.write_text("quantize: {method: bitsandbytes, load_in_4bit: true}")
    assert chosen(tmp_path) is None
    hf(tmp_path / "base", dtype="float16")
    assert chosen(tmp_path) == "base"
    assert ids(beside([tmp_path / "x.gguf"])) == ["base"]


def test_what_lies_beside_is_chosen_by_what_it_is_for(tmp_path: Path) -> None:
    hf(tmp_path / "base", dtype="bfloat16")
    gguf(tmp_path / "bf16.gguf", file_type=32, tensor_type=BF16)
    near = beside([tmp_path / "x.gguf"])
    for artifact, expected in (
        (gguf(tmp_path / "q" / "q.gguf"), "bf16"),
        (quantized(tmp_path / "q" / "awq"), "base"),
    ):
        found = choose_reference(near, None, discover([artifact]))
        assert found is not None
        assert found.id == expected
