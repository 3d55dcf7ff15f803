"""The chat template of an artifact as text, with the tokens that it may name."""

from __future__ import annotations

import pytest

from qgate.artifacts import discover
from qgate.artifacts.tokenizer.chat_template import chat_template_of
from qgate.demo.__main__ import model_directory
from qgate.demo.training.tokenizer import BOS, CHAT_TEMPLATE, EOS


def test_a_hugging_face_directory_tells_its_template_and_tokens() -> None:
    (reference,) = discover([model_directory()])
    found = chat_template_of(reference)
    assert found is not None
    assert (found.text, found.bos_token, found.eos_token) == (CHAT_TEMPLATE, BOS, EOS)


def test_a_gguf_file_made_of_it_tells_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("gguf")
    from qgate.demo.formats.gguf_convert import convert

    path = tmp_path_factory.mktemp("models") / "m-F16.gguf"
    convert(model_directory(), path)
    (artifact,) = discover([path])
    found = chat_template_of(artifact)
    assert found is not None
    assert (found.text, found.bos_token, found.eos_token) == (CHAT_TEMPLATE, BOS, EOS)
