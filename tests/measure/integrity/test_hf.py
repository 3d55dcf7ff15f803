"""Integrity rows of Hugging Face directories: what fails them, and in which words."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import qgate
from qgate.artifacts import discover
from qgate.artifacts.hf.safetensors import read_header
from qgate.errors import ArtifactError
from qgate.measure.integrity.hf import check_files, check_scheme, check_weights
from qgate.measure.integrity.rows import find
from tests.support.safetensors_files import write, write_model

if TYPE_CHECKING:
    from qgate.measure.measurement import Finding
    from qgate.records import Artifact

DEMO = Path(qgate.__file__).parent / "demo" / "model"
ROWS = ("files", "scheme", "weights", "tokenizer", "special_tokens", "chat_template")


def artifact_at(path: Path) -> Artifact:
    (artifact,) = discover([path])
    return artifact


def rows(artifact: Artifact, reference: Artifact) -> dict[str, Finding]:
    return {row: find(f"integrity.{row}", artifact, lambda: reference, str) for row in ROWS}


def test_a_real_model_holds_every_row_against_itself() -> None:
    artifact = artifact_at(DEMO)
    found = rows(artifact, artifact)
    assert [row for row in ROWS if not found[row].holds] == []
    assert found["files"].message == "integrity.files: 38 tensors in 1 file, whole"
    assert found["scheme"].message == (
        "integrity.scheme: float16; stored as F16 100% of the weight bytes"
    )
    assert found["weights"].message == "integrity.weights: 38 tensors, every number finite"
    header = read_header(DEMO / "model.safetensors")
    stored = sum(tensor.n_bytes for tensor in header.tensors)
    assert found["weights"].details["n_bytes"] == stored
    assert found["tokenizer"].message == "integrity.tokenizer: the reference's (8 keys)"


def test_a_converted_model_holds_the_rows_against_its_reference(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the demo model is converted with the gguf package")
    pytest.importorskip("safetensors", reason="the demo model is converted with safetensors")
    from qgate.demo.formats.gguf_convert import convert

    convert(DEMO, tmp_path / "demo-F16.gguf")
    reference, converted = artifact_at(DEMO), artifact_at(tmp_path / "demo-F16.gguf")
    for one, other in ((converted, reference), (reference, converted)):
        found = rows(one, other)
        assert [found[row].message for row in ROWS if not found[row].holds] == []


def test_a_directory_that_changed_or_lost_something_fails(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    artifact = artifact_at(tmp_path / "m")
    assert check_files(artifact).holds
    (tmp_path / "m" / "tokenizer.json").write_text("{}")
    finding = check_files(artifact)
    assert not finding.holds
    assert "changed during the run: got" in finding.message
    os.truncate(path, path.stat().st_size - 1)
    finding = check_files(artifact)
    assert not finding.holds
    assert finding.message.startswith(f"integrity.files: {path}: tensor ")
    path.unlink()
    finding = check_files(artifact)
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.files: {tmp_path / 'm'}: weights: got none; expected model.safetensors, or "
        "shards and model.safetensors.index.json.",
    )
    named = dataclasses.replace(artifact, problem="it is broken")
    assert check_files(named).message == "integrity.files: it is broken"


@pytest.mark.parametrize(
    ("dtype", "raw"),
    [
        ("F64", struct.pack("<d", float("nan"))),
        ("F32", struct.pack("<f", float("-inf"))),
        ("F16", b"\x00\x7c"),
        ("BF16", b"\xc0\xff"),
        ("F8_E4M3", b"\xff"),
        ("F8_E5M2", b"\x7c"),
        ("F8_E8M0", b"\xff"),
        ("C64", struct.pack("<ff", 1.0, float("inf"))),
    ],
)
def test_a_number_that_is_none_fails_in_every_type(dtype: str, raw: bytes, tmp_path: Path) -> None:
    good = b"\x11" * len(raw)
    write_model(tmp_path / "m", {"a.weight": (dtype, (4, 2))}, dtype="float32")
    path = tmp_path / "m" / "model.safetensors"
    write(path, {"a.weight": (dtype, (4, 2))}, data={"a.weight": good * 7 + raw})
    finding = check_weights(artifact_at(tmp_path / "m"))
    assert not finding.holds
    count = 16 if dtype == "C64" else 8
    assert "1 of 1 tensors hold NaN or Inf: a.weight (1 of " in finding.message
    assert f"(1 of {count} " in finding.message
    write(path, {"a.weight": (dtype, (4, 2))}, data={"a.weight": good * 8})
    assert check_weights(artifact_at(tmp_path / "m")).holds


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}


@pytest.mark.parametrize(
    ("tensors", "data", "config", "problem"),
    [
        (
            {"a.weight": ("F16", (8, 8))},
            {"a.weight": bytes(128)},
            {},
            "1 of 1 tensors are all zero: a.weight",
        ),
        (
            {"a.qweight": ("I32", (8, 8))},
            {"a.qweight": bytes(256)},
            GPTQ,
            "1 of 1 tensors are all zero: a.qweight",
        ),
        (
            {"a.qweight": ("I32", (8, 8))},
            {"a.qweight": b"\x88" * 256},
            GPTQ,
            "1 of 1 tensors hold one code only: a.qweight",
        ),
        (
            {"a.weight_packed": ("U8", (8, 8))},
            {"a.weight_packed": b"\x77" * 64},
            {"quant_method": "compressed-tensors"},
            "1 of 1 tensors hold one code only: a.weight_packed",
        ),
        (
            {"a.scales": ("F16", (1, 8))},
            {"a.scales": b"\x00\x7e" + b"\x00\x3c" * 7},
            GPTQ,
            "1 of 1 tensors hold NaN or Inf: a.scales (1 of 8 numbers)",
        ),
        (
            {"a.weight.absmax": ("F32", (8,))},
            {"a.weight.absmax": bytes(32)},
            {"quant_method": "bitsandbytes"},
            "1 of 1 tensors are all zero: a.weight.absmax",
        ),
        (
            {"a.weight_scale": ("U8", (2, 4))},
            {"a.weight_scale": b"\x7f" * 7 + b"\xff"},
            {"quant_method": "compressed-tensors", "format": "mxfp4-pack-quantized"},
            "1 of 1 tensors hold NaN or Inf: a.weight_scale (1 of 8 scales)",
        ),
    ],
    ids=["zero", "qweight", "middle code", "packed", "scales", "absmax", "exponents"],
)
def test_weights_that_are_nothing_fail(
    tensors: dict[str, Any],
    data: dict[str, bytes],
    config: dict[str, Any],
    problem: str,
    tmp_path: Path,
) -> None:
    directory = write_model(tmp_path / "m", tensors, quantization_config=config or None)
    write(directory / "model.safetensors", tensors, data=data)
    finding = check_weights(artifact_at(directory))
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.weights: {problem}. Download or quantize it again.",
    )


def test_zeros_and_indices_may_be_all_alike(tmp_path: Path) -> None:
    tensors = {
        "a.qweight": ("I32", (8, 8)),
        "a.qzeros": ("I32", (1, 8)),
        "a.g_idx": ("I32", (64,)),
        "a.bias": ("F16", (8,)),
    }
    directory = write_model(tmp_path / "m", tensors, quantization_config=GPTQ)
    data = {"a.qzeros": b"\x77" * 32, "a.g_idx": bytes(256), "a.bias": bytes(16)}
    write(directory / "model.safetensors", tensors, data=data)
    finding = check_weights(artifact_at(directory))
    assert (finding.holds, finding.message) == (
        True,
        "integrity.weights: 4 tensors, every number finite; integers in 3 tensors",
    )


def test_files_without_a_tensor_are_not_whole(tmp_path: Path) -> None:
    finding = check_files(artifact_at(write_model(tmp_path / "m", {}, dtype="float16")))
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.files: {tmp_path / 'm'}: weights: got no tensor in any file.",
    )


def test_rows_of_a_directory_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m", {"a.weight": ("F16", (8, 8))}, dtype="float16")
    artifact = artifact_at(directory)
    os.truncate(directory / "model.safetensors", 40)
    for check in (check_scheme, check_weights):
        with pytest.raises(ArtifactError, match="Download it again"):
            check(artifact)


def test_without_a_tokenizer_the_row_is_an_error_or_fails(tmp_path: Path) -> None:
    directory = write_model(tmp_path / "m", {"a.weight": ("F16", (8, 8))}, dtype="float16")
    artifact, reference = artifact_at(directory), artifact_at(DEMO)
    with pytest.raises(ArtifactError, match=r"got it in no file and tokenizer\.json"):
        find("integrity.tokenizer", artifact, lambda: reference, str)
    finding = find("integrity.tokenizer", artifact, lambda: artifact, str)
    assert (finding.holds, finding.message) == (
        False,
        "integrity.tokenizer: no tokenizer in either file",
    )
