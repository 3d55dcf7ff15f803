"""Servers that take and tell text only, and tokens that llama-server holds back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import MeasurementError
from qgate.runtimes.openai_server.llama_server import _leads
from qgate.runtimes.openai_server.response import JsonFields
from qgate.runtimes.openai_server.tokens import LocalTokenizer, Text
from tests.runtimes.openai_server.faulty_server import LETTERS, Planted, load, serving, write_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qgate.runtimes.base import Prompt

BEGIN = 1


class Spaced:
    """A tokenizer of characters that puts a space before a text, as SentencePiece does."""

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        return (BEGIN,) * begins + tuple(map(ord, f" {text}"))

    def detokenize(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).removeprefix(" ")


class Paired(Spaced):
    """One that joins two letters: "ab" has one token, which also comes as two."""

    def tokenize(self, text: str, *, begins: bool) -> tuple[int, ...]:
        joined = text.replace("ab", "\u2000")
        return (BEGIN,) * begins + tuple(map(ord, joined))

    def detokenize(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids)).replace("\u2000", "ab")


def test_behind_another_text_no_space_is_added() -> None:
    text = Text(Spaced())
    assert text.encode("wet", begins=True).tolist() == [BEGIN, *map(ord, " wet")]
    assert text.encode(" wet", begins=False).tolist() == [*map(ord, " wet")]
    assert text.encode("", begins=False).tolist() == []


def test_a_prompt_that_was_encoded_is_sent_as_it_was_written() -> None:
    text = Text(Paired())
    assert text.written(text.encode("cab", begins=True)) == "cab"
    assert text.written(np.array([BEGIN, *map(ord, "xyz")], dtype=np.int32)) == "xyz"
    assert text.written(np.array([BEGIN], dtype=np.int32)) == ""


def test_tokens_that_are_no_texts_own_are_not_sent_as_text() -> None:
    with pytest.raises(MeasurementError, match="a prompt of 3 tokens is not what its text becomes"):
        Text(Paired()).written(np.array([BEGIN, ord("a"), ord("b")], dtype=np.int32))


@pytest.mark.parametrize("tokens", [8, 64, 300])
def test_a_text_of_any_length_is_found_and_never_the_same(tokens: int) -> None:
    pytest.importorskip("tokenizers")
    tokenizer = LocalTokenizer(model_directory(), "URL")
    text, ids = Text(tokenizer), np.arange(tokens, dtype=np.int32)

    found = [text.as_long_as(ids) for _ in range(3)]

    assert [len(tokenizer.tokenize(one, begins=True)) for one in found] == [tokens] * 3
    assert len({one[:8] for one in found}) == 3


@pytest.fixture
def plain() -> Iterator[Planted]:
    """Some OpenAI-compatible server, over the model that comes with the package."""
    pytest.importorskip("tokenizers")
    tokenizer = LocalTokenizer(model_directory(), "URL")

    def count(text: str) -> int:
        return len(tokenizer.tokenize(text, begins=True))

    with serving(Planted(owner="somebody", fault="no ids", counted=count)) as planted:
        yield planted


def test_an_unknown_server_is_sent_text_and_its_text_is_tokenized_here(plain: Planted) -> None:
    from qgate.runtimes.base import Prompt

    runtime, facts = load(plain, model_directory())
    ids = runtime.encode("Anna went to", begins=True)

    (short, ended) = runtime.answer(
        [Prompt(ids=ids, max_tokens=4), Prompt(ids=ids, max_tokens=20)], 2, lambda *_: None
    )

    assert runtime.describe().version == "openai"
    assert runtime.describe().build == (
        "model toy; prompts as text, checked; answers tokenized from text"
    )
    assert {body["prompt"] for _, body in plain.asked if "prompt" in body} == {"Anna went to"}
    assert short.end is None
    assert ended.end == facts.end_tokens[0]
    assert ended.ids.tolist() == runtime.encode(LETTERS, begins=False).tolist()
    assert np.isposinf(ended.margins_nats).all()
    assert len(ended.margins_nats) == len(ended.ids) + 1
    assert runtime.decode(short.ids) == LETTERS[:4]


def test_a_prompt_that_an_unknown_server_reads_otherwise_is_refused(plain: Planted) -> None:
    plain.counted = lambda text: len(text)
    runtime, _ = load(plain, model_directory())
    with pytest.raises(MeasurementError, match="the server read 12 tokens; expected"):
        runtime.answer([asked(runtime.encode("Anna went to", begins=True))], 1, lambda *_: None)


def asked(ids: np.ndarray) -> Prompt:
    from qgate.runtimes.base import Prompt

    return Prompt(ids=ids, max_tokens=4)


def test_a_stream_of_an_unknown_server_does_not_end(plain: Planted) -> None:
    runtime, _ = load(plain, model_directory())
    assert list(runtime.stream(np.arange(30, dtype=np.int32), 12)) == [-1] * 12
    assert plain.asked[-1][1]["logit_bias"] == {"1": -100.0, "4": -100.0}


def test_without_any_tokenizer_nothing_is_guessed(tmp_path: Path) -> None:
    with serving(Planted(owner="somebody")) as toy, pytest.raises(MeasurementError) as caught:
        load(toy, write_model(tmp_path / "toy"))
    assert str(caught.value) == (
        f"openai_server: {toy.url}: has no tokenizer that is known here, and there is no"
        " tokenizer.json in toy. Serve the model with vllm or llama-server, which have one"
    )


def test_a_token_that_was_held_back_has_no_known_lead() -> None:
    def entry(token: int, lead: float) -> JsonFields:
        tops = [{"id": token, "logprob": -1.0}, {"id": 99, "logprob": -1.0 - lead}]
        return JsonFields({"id": token, "logprob": -1.0, "top_logprobs": tops}, "here")

    leads = _leads((5, 6, 7), [entry(5, 0.5), entry(7, 0.25)])

    assert leads == pytest.approx((0.5, math.inf, 0.25))
