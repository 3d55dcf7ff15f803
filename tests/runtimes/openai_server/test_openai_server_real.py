"""Real servers over the model that comes with the package: they say what the model itself says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import MeasurementError
from qgate.runtimes.base import LoadSettings, ModelFacts, Prompt
from qgate.runtimes.llama_cpp.adapter import LlamaCpp
from qgate.runtimes.openai_server.adapter import OpenAIServer
from qgate.runtimes.openai_server.options import ServerOptions
from qgate.runtimes.worker.token_timing import time_request
from tests.support.servers import SERVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("llama_cpp", reason="pip install 'pytest-qgate[gguf]'")

TEXTS = (
    "Anna went to the park.",
    "2 + 2 =",
    "<|im_start|>user\nWhat is 3 + 4?<|im_end|>\n<|im_start|>assistant\n",
    "",
    "Der Hund",
    "Straße 日本語 👍🏽 हिन्दी",
    "  two\n\n\nlines ",
)
ANSWERED = TEXTS[:5]
TOKENS = 20
Told = TypeVar("Told")


@dataclass(frozen=True, kw_only=True)
class Real:
    name: str
    runtime: OpenAIServer
    facts: ModelFacts
    itself: LlamaCpp
    """The same weights without a server."""

    def prompts(self) -> list[Prompt]:
        return [
            Prompt(ids=self.runtime.encode(text, begins=True), max_tokens=TOKENS)
            for text in ANSWERED
        ]


def undisturbed(ask: Callable[[], Told]) -> Told:
    """What a model this small is asked to say again.

    It says several tokens while a busy machine does something else, and half a character where it
    is made to go on behind its end; both are refused, as they should be.
    """
    for _ in range(20):
        try:
            return ask()
        except MeasurementError as error:
            if not any(words in str(error) for words in ("is held back", "half a character")):
                raise
    return ask()


@pytest.fixture(
    scope="module",
    params=[
        "llama-cpp-python",
        "llama-server",
        pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.slow]),
    ],
)
def real(
    request: pytest.FixtureRequest, demo: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Real]:
    model = model_directory() if request.param == "vllm" else demo
    log = tmp_path_factory.mktemp("server") / "server.log"
    with SERVERS[request.param](model, log) as url:
        runtime, itself = OpenAIServer(), LlamaCpp()
        facts = runtime.load(
            LoadSettings(path=str(model), window_tokens=64, options=ServerOptions(url=url))
        )
        itself.load(LoadSettings(path=str(demo), window_tokens=64, threads=1))
        yield Real(name=request.param, runtime=runtime, facts=facts, itself=itself)
        itself.close()
        runtime.close()


def test_the_server_is_recognised(real: Real) -> None:
    described = real.runtime.describe()
    kind, _, version = described.version.partition(" ")

    assert kind == real.name
    assert bool(version) == (real.name != "llama-cpp-python")  # which does not tell it
    assert ("prompts as token ids" in described.build) == (real.name != "llama-cpp-python")


def test_the_facts_are_those_of_the_model(real: Real) -> None:
    facts = real.facts
    assert (facts.n_vocab, facts.context_length, facts.width) == (1792, 512, 256)
    assert (facts.bos, facts.first_token, facts.end_tokens) == (0, 0, (1, 4))


@pytest.mark.parametrize("begins", [True, False])
def test_text_becomes_the_models_own_tokens(real: Real, begins: bool) -> None:
    for text in TEXTS:
        ids = real.runtime.encode(text, begins=begins)
        assert ids.tolist() == real.itself.encode(text, begins=begins).tolist(), text


@pytest.mark.parametrize("batch_size", [1, 4])
def test_answers_are_those_of_the_model_itself(real: Real, batch_size: int) -> None:
    prompts = real.prompts()

    answers = real.runtime.answer(prompts, batch_size, lambda *_: None)
    expected = real.itself.answer(prompts, batch_size, lambda *_: None)

    assert [answer.end for answer in answers].count(None) < len(answers)
    for answer, own in zip(answers, expected, strict=True):
        assert (answer.ids.tolist(), answer.end) == (own.ids.tolist(), own.end)
        assert real.runtime.decode(answer.ids) == real.itself.decode(own.ids)
        if real.name == "llama-cpp-python":
            assert np.isposinf(answer.margins_nats).all()
        else:
            assert answer.margins_nats == pytest.approx(own.margins_nats, abs=0.2)


def test_a_stream_has_the_models_own_tokens_each_with_its_time(real: Real) -> None:
    ids = real.runtime.encode("Anna went to the", begins=True)

    said = undisturbed(lambda: list(real.runtime.stream(ids, TOKENS)))
    at_s = undisturbed(lambda: time_request(real.runtime, ids, TOKENS))

    if real.name == "llama-cpp-python":
        assert said == [-1] * TOKENS
    else:
        assert said == list(real.itself.stream(ids, TOKENS))
    assert at_s.shape == (TOKENS,)
    assert (np.diff(at_s, prepend=0.0) > 0.0).all()


def test_a_prompt_that_was_sent_before_is_not_answered_sooner(real: Real) -> None:
    ids = np.random.default_rng(5).integers(8, real.facts.n_vocab, 400).astype(np.int32)

    # few tokens: the more it says to noise, the likelier half a character is among them
    requests = [undisturbed(lambda: time_request(real.runtime, ids, 8)) for _ in range(6)]
    ttft_s = [request[0] for request in requests]

    assert min(ttft_s[1:]) > 0.5 * min(ttft_s[0], float(np.median(ttft_s)))
