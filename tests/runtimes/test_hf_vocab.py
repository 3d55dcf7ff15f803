"""Hugging Face tokenizers: what their ends are, and which are refused."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError
from qgate.runtimes.hf_vocabulary import Vocabulary

if TYPE_CHECKING:
    from pathlib import Path


def fast(directory: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    return transformers.AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(fast(model_directory()), model_directory())


def test_a_token_that_only_the_matrix_has_is_no_text(vocabulary: Vocabulary) -> None:
    assert vocabulary.decode(np.array([90000], dtype=np.int32)) == ""


def test_ends_are_collected_from_all_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))

    assert Vocabulary(fast(model_directory()), tmp_path).end_tokens == (1, 7, 9)


def test_a_tokenizer_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected one with a tokenizer\.json"):
        Vocabulary(SimpleNamespace(is_fast=False), tmp_path)


def test_a_tokenizer_that_cannot_begin_a_text_is_refused(tmp_path: Path) -> None:
    endless = fast(model_directory())
    endless.bos_token = endless.eos_token = None

    with pytest.raises(ArtifactError, match="neither a begin-of-text nor an end-of-text token"):
        Vocabulary(endless, tmp_path)
