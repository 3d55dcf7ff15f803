"""What transformers computes is what llama.cpp does, alone or beside others; and what it takes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.demo.__main__ import model_directory
from qgate.runtimes.base import LoadSettings, Prompt
from qgate.runtimes.transformers.load import load as load_whole
from tests.runtimes.conftest import open_model, open_with

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served

pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")

LANGUAGES = [
    "The cat sat on the mat. Don't you'll we've 12345 3.14",
    "Größe, Straße und Übermut; ça va très bien",
    "Привет, мир! Как дела?",
    "世界、こんにちは。안녕하세요",
    "שלום عليكم नमस्ते",
    "🙂👩\u200d👩\u200d👧 e\u0301 \u200b\ufeff\x01",
    "",
    "a",
    " wet",
    "  two  spaces \n\n\t\r\n",
    "<|im_start|>user\nHi<|im_end|>\n<|begin_of_text|>",
    "<s>one</s> two <s> three <unk>",
]


@pytest.fixture(params=["demo", "stories260K"])
def pair(request: pytest.FixtureRequest) -> Any:
    """The same model in transformers and in llama.cpp."""
    if request.param == "demo":
        hf, gguf = model_directory(), request.getfixturevalue("demo")
    else:
        stories = request.getfixturevalue("stories")
        hf, gguf = stories / "hf", stories / "stories260K-f16.gguf"
    one, other = open_with(hf), open_model("llama_cpp", gguf, 192)
    yield one, other
    one.runtime.close()
    other.runtime.close()


class TestAgainstLlamaCpp:
    def test_it_has_the_same_ids_and_pieces(self, pair: tuple[Served, Served]) -> None:
        one, other = pair
        for text in LANGUAGES:
            for ours, theirs in zip(
                one.runtime.tokenize(text), other.runtime.tokenize(text), strict=True
            ):
                assert ours.tolist() == theirs.tolist(), text
            for begins in (True, False):
                ids = one.runtime.encode(text, begins=begins)
                assert ids.tolist() == other.runtime.encode(text, begins=begins).tolist(), text
                assert one.runtime.decode(ids) == other.runtime.decode(ids), text

    def test_it_has_the_same_facts(self, pair: tuple[Served, Served]) -> None:
        one, other = pair
        for name in ("n_vocab", "width", "context_length", "bos", "adds_bos", "first_token"):
            assert getattr(one.facts, name) == getattr(other.facts, name), name
        assert one.facts.end_tokens == other.facts.end_tokens

    def test_it_has_the_same_perplexity_to_three_digits(self, pair: tuple[Served, Served]) -> None:
        one, other = pair
        windows = other.sample(sequences=12, tokens=192, seed=3)

        ours, theirs = (
            np.concatenate([nll(served, ids) for ids in windows]) for served in (one, other)
        )

        # 1.6003 and 1.6003 (demo), 3.7713 and 3.7710 (stories260K) were measured
        assert np.exp(ours.mean()) == pytest.approx(np.exp(theirs.mean()), rel=5e-4)
        assert np.abs(ours - theirs).max() < 0.1


def nll(served: Served, ids: np.ndarray) -> np.ndarray:
    said = log_softmax(served.logits(ids[:-1], 0).astype(float), axis=1)
    found: np.ndarray = -said[np.arange(len(ids) - 1), ids[1:]]
    return found


def test_an_unpadded_prompt_says_what_a_padded_one_does() -> None:
    with closing(open_with(model_directory()).runtime) as runtime:
        lengths = [3, 50, 17, 8, 29]
        prompts = [
            Prompt(ids=np.arange(5 + size, 5 + 2 * size, dtype=np.int32), max_tokens=30)
            for size in lengths
        ]
        alone = runtime.answer(prompts, 1, lambda *_: None)
        together = runtime.answer(prompts, 5, lambda *_: None)

    for one, other in zip(alone, together, strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.end == other.end
        assert one.margins_nats == pytest.approx(other.margins_nats, abs=1e-3)


def test_it_computes_in_float32_on_a_cpu() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    loaded = load_whole(LoadSettings(path=str(model_directory()), window_tokens=64))

    assert loaded.model.dtype == torch.float32


def test_serving_a_context_takes_its_weights_its_cache_and_scratch() -> None:
    with closing(open_with(model_directory()).runtime) as runtime:
        half, whole = runtime.fill_context(256), runtime.fill_context(512)

    layers, kv_heads, head, float32 = 4, 2, 64, 4
    # two tables of rotary frequencies beside the parameters
    assert whole.kv_cache_bytes == 512 * 2 * layers * kv_heads * head * float32
    assert half.kv_cache_bytes * 2 == whole.kv_cache_bytes
    assert whole.context_tokens == 512
    assert whole.weights_bytes == half.weights_bytes == 4 * (3_606_784 + 2 * 32)
    assert 0 < half.compute_bytes < whole.compute_bytes < 1.5 * 2 * 2**22
