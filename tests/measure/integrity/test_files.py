"""Integrity rows of whole files and of tokenizers: what fails them, and in which words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.artifacts.gguf.header import read_header
from qgate.artifacts.tokenizer.comparison import tokenizer_facts
from qgate.measure.integrity.gguf import check_files, check_scheme, check_weights, compare_part
from tests.support.gguf_tensors import layers, write
from tests.support.stories260k import STORIES, needs_stories

if TYPE_CHECKING:
    from pathlib import Path


def test_a_whole_file_holds_and_a_truncated_one_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "m.gguf", layers(Q8_0=2))
    (artifact,) = discover([path])
    finding = check_files(artifact)
    assert (finding.holds, finding.message) == (True, "integrity.files: 3 tensors in 1 file, whole")
    with path.open("ab") as file:
        file.write(b"more")
    assert check_files(artifact).message == (
        f"integrity.files: {path}: changed during the run: got {path.stat().st_size} bytes; "
        f"expected {artifact.size_bytes} as at the beginning."
    )
    os.truncate(path, artifact.size_bytes - 1)
    finding = check_files(artifact)
    assert (finding.holds, finding.message) == (
        False,
        f"integrity.files: {path}: tensor 'output_norm.weight' ends at byte "
        f"{artifact.size_bytes}; the file has {artifact.size_bytes - 1} bytes. Download it again.",
    )
    (broken,) = discover([path])
    assert check_files(broken) == finding


def test_tokenizer_rows_name_what_differs(tmp_path: Path) -> None:
    def facts(**changes: str | int) -> Any:
        metadata: dict[str, str | int] = {
            "tokenizer.ggml.model": "gpt2",
            "tokenizer.ggml.eos_token_id": 2,
            "tokenizer.chat_template": "{{ messages }}",
        }
        metadata.update({key.replace("__", "."): value for key, value in changes.items()})
        return tokenizer_facts(read_header(write(tmp_path / "m.gguf", [], metadata=metadata)))

    remedy = "Convert both from the same reference."
    for changes, part, differs in (
        (
            {"tokenizer__ggml__model": "llama"},
            "tokenizer",
            "tokenizer.ggml.model: 'llama', the reference has 'gpt2'",
        ),
        (
            {"tokenizer__ggml__eos_token_id": 1},
            "special_tokens",
            "tokenizer.ggml.eos_token_id: 1, the reference has 2",
        ),
        (
            {"tokenizer__chat_template": "{{ x }}"},
            "chat_template",
            "tokenizer.chat_template differ (sha256:e52c7372… of 7 characters and "
            "sha256:f24189f0… of 14 characters)",
        ),
    ):
        failed = compare_part(part, facts(**changes), facts())
        assert (failed.check, failed.holds) == (f"integrity.{part}", False)
        assert failed.message == f"integrity.{part}: not the reference's: {differs}. {remedy}"
        held = compare_part(part, facts(), facts())
        assert (held.holds, held.message) == (True, f"integrity.{part}: the reference's (1 key)")
        assert held.details["digest"] == held.details["reference_digest"]


def test_two_files_without_a_tokenizer_do_not_agree_on_one(tmp_path: Path) -> None:
    nothing = tokenizer_facts(read_header(write(tmp_path / "m.gguf", [])))
    finding = compare_part("tokenizer", nothing, nothing)
    assert (finding.holds, finding.message) == (
        False,
        "integrity.tokenizer: no tokenizer in either file",
    )
    assert compare_part("chat_template", nothing, nothing).holds


@needs_stories
@pytest.mark.parametrize("scheme", ["f32", "f16", "q8_0", "q5_0", "q4_0"])
def test_real_files_hold_every_row(scheme: str) -> None:
    (artifact,) = discover([STORIES / f"stories260K-{scheme}.gguf"])
    header = read_header(artifact.path)
    assert check_files(artifact).holds
    assert check_scheme([header]).holds
    weights = check_weights([header])
    assert weights.message == "integrity.weights: 48 tensors, every number finite"
    assert weights.details["n_bytes"] == sum(tensor.n_bytes for tensor in header.tensors)
