"""Hugging Face tokenizers as runtimes need them: the same tokens and bytes as in llama.cpp."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError
from qgate.runtimes.hf_vocabulary import Vocabulary
from tests.runtimes.conftest import open_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.runtimes.conftest import Served

TEXTS = [
    "Hello wörld, 日本 🙂\n\tend  ",
    "<|im_start|>user\nhi<|im_end|>",
    " leading",
    "def f(x):\n    return x + 1\n",
    "x",
    "",
]


def fast(directory: Path) -> Any:
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    return transformers.AutoTokenizer.from_pretrained(directory)


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(fast(model_directory()), model_directory())


@pytest.fixture(scope="module")
def llama(demo: Path) -> Iterator[Served]:
    served = open_model("llama_cpp", demo)
    yield served
    served.runtime.close()


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_those_of_llama_cpp(vocabulary: Vocabulary, llama: Served, text: str) -> None:
    ids, piece_bytes = vocabulary.tokenize(text)
    wanted, wanted_bytes = llama.runtime.tokenize(text)

    assert ids.dtype == piece_bytes.dtype == np.int32
    assert ids.tolist() == wanted.tolist()
    assert piece_bytes.tolist() == wanted_bytes.tolist()
    for begins in (True, False):
        parsed = vocabulary.encode(text, begins=begins)
        assert parsed.tolist() == llama.runtime.encode(text, begins=begins).tolist()


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_as_from_llama_cpp(
    vocabulary: Vocabulary, llama: Served, text: str
) -> None:
    ids = vocabulary.encode(text, begins=True)

    assert vocabulary.decode(ids) == llama.runtime.decode(ids)
    assert vocabulary.decode(vocabulary.tokenize(text)[0]) == text
    assert vocabulary.decode(ids[:-1]) == llama.runtime.decode(ids[:-1])


def test_special_tokens_are_those_of_llama_cpp(vocabulary: Vocabulary, llama: Served) -> None:
    facts = llama.facts

    assert (vocabulary.bos, vocabulary.adds_bos) == (facts.bos, facts.adds_bos)
    assert vocabulary.first_token == facts.first_token
    assert vocabulary.end_tokens == facts.end_tokens


def test_a_token_that_only_the_matrix_has_is_no_text(vocabulary: Vocabulary) -> None:
    assert vocabulary.decode(np.array([90000], dtype=np.int32)) == ""


def test_ends_are_collected_from_all_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": 9}))
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))

    assert Vocabulary(fast(model_directory()), tmp_path).end_tokens == (1, 7, 9)


def sentencepiece() -> Any:
    """Of Llama 2's kind: a space before the text, bytes where a letter is unknown."""
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    space = "\N{LOWER ONE EIGHTH BLOCK}"
    letters = [space, *"abcdefghijklmnopqrstuvwxyz", "\n"]
    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *letters]
    names += [f"{space}w", f"{space}we"]
    bpe = tokenizers.models.BPE(
        vocab={name: number for number, name in enumerate(names)},
        merges=[(space, "w"), (f"{space}w", "e")],
        unk_token="<unk>",
        byte_fallback=True,
    )
    tokenizer = tokenizers.Tokenizer(bpe)
    normalizers, decoders = tokenizers.normalizers, tokenizers.decoders
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(space), normalizers.Replace(" ", space)]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(space, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def test_sentencepiece_is_put_together_with_its_spaces(tmp_path: Path) -> None:
    vocabulary = Vocabulary(sentencepiece(), tmp_path)

    ids, piece_bytes = vocabulary.tokenize("we é")

    assert vocabulary.adds_bos
    assert piece_bytes.tolist() == [0, 3, 1, 1, 1]
    assert vocabulary.decode(ids) == " we é"
    assert vocabulary.end_tokens == (2,)


def test_what_follows_a_text_gets_no_second_space(tmp_path: Path) -> None:
    vocabulary = Vocabulary(sentencepiece(), tmp_path)

    assert vocabulary.decode(vocabulary.encode(" we", begins=False)) == " we"
    assert vocabulary.decode(vocabulary.encode("we", begins=False)) == "we"


def test_a_tokenizer_without_its_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"expected one with a tokenizer\.json"):
        Vocabulary(SimpleNamespace(is_fast=False), tmp_path)


def test_a_tokenizer_that_cannot_begin_a_text_is_refused(tmp_path: Path) -> None:
    endless = sentencepiece()
    endless.bos_token = endless.eos_token = None

    with pytest.raises(ArtifactError, match="neither a begin-of-text nor an end-of-text token"):
        Vocabulary(endless, tmp_path)
