"""An engine that goes on shows progress at each of its steps, and one that stands still shows none.

On an engine that does as vLLM's does; against the real one: tests/runtimes/vllm/served.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from qgate.runtimes.base import Prompt, Sampling
from qgate.runtimes.vllm.adapter import Vllm
from qgate.runtimes.vllm.engine import Engine

LONGEST = 1024


class OutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


class SteppingEngine:
    """Says one token of each request a step; every other step none."""

    def __init__(self) -> None:
        self.vllm_config = SimpleNamespace(
            model_config=SimpleNamespace(max_model_len=LONGEST), use_v2_model_runner=False
        )
        self.going: dict[str, Any] = {}
        self.said: dict[str, int] = {}
        self.steps = 0

    def add_request(self, name: str, _: Any, parameters: Any) -> None:
        self.going[name], self.said[name] = parameters, 0

    def has_unfinished_requests(self) -> bool:
        return bool(self.going)

    def abort_request(self, names: list[str]) -> None:
        for name in names:
            self.going.pop(name, None)

    def step(self) -> list[Any]:
        self.steps += 1
        if self.steps % 2 == 0:
            return []
        outputs = []
        for name, parameters in list(self.going.items()):
            self.said[name] += 1
            is_finished = self.said[name] == parameters.max_tokens
            if is_finished or parameters.output_kind is OutputKind.CUMULATIVE:
                outputs.append(output(name, self.said[name], is_finished=is_finished))
            if is_finished:
                del self.going[name]
        return outputs


def output(name: str, count: int, *, is_finished: bool) -> Any:
    logprobs = SimpleNamespace(logprobs=[-0.1, -0.1, -2.0] * count)
    said = SimpleNamespace(token_ids=[7] * count, logprobs=logprobs)
    return SimpleNamespace(request_id=name, finished=is_finished, outputs=[said])


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Vllm:
    vllm, parameters = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    monkeypatch.setattr(vllm, "SamplingParams", SimpleNamespace, raising=False)
    monkeypatch.setattr(parameters, "RequestOutputKind", OutputKind, raising=False)
    monkeypatch.setitem(sys.modules, "vllm", vllm)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", parameters)
    engine = Engine.__new__(Engine)
    engine._engine, engine._requests = SteppingEngine(), 0
    made = Vllm.__new__(Vllm)
    made._open, made._device = engine, "gpu"
    made._vocab = SimpleNamespace(  # type: ignore[assignment]
        end_tokens=(1,), first_token=0, decode=lambda ids: "a" * len(ids)
    )
    return made


class Told:
    """Progress as it came."""

    def __init__(self) -> None:
        self.steps: list[tuple[Any, ...]] = []

    def __call__(self, *step: Any) -> None:
        self.steps.append(step[:3])

    def longest_standstill(self) -> int:
        """How often the same was told in a row."""
        longest = run = 1
        for before, step in zip(self.steps, self.steps[1:], strict=False):
            run = run + 1 if step == before else 1
            longest = max(longest, run)
        return longest


@pytest.mark.parametrize("stops", [(), ("\n",)], ids=["to their length", "until a stop"])
def test_answers_show_each_token_and_no_more(runtime: Vllm, stops: tuple[str, ...]) -> None:
    prompts = [Prompt(ids=np.arange(4), max_tokens=40, stops=stops) for _ in range(16)]
    told = Told()

    answers = runtime.answer(prompts, 16, told)

    assert [len(answer.ids) for answer in answers] == [40] * 16
    assert len(set(told.steps)) >= 40
    # a step in which nothing is said is none of progress
    assert told.longest_standstill() == 2


def test_sampled_text_shows_each_token_and_no_more(runtime: Vllm) -> None:
    told = Told()

    sampled = runtime.sample(Sampling(sequences=4, tokens=30, seed=0), told)

    assert sampled.ids.shape == (4, 30)
    assert len(set(told.steps)) >= 29
    assert told.longest_standstill() == 2
