"""Wrong log-probabilities, planted, are refused before vLLM's are trusted; without vLLM."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import LoadSettings, Span
from qgate.runtimes.vllm.self_check import check_log_probabilities, check_named_tokens
from tests.conftest import Toy, write_toy
from tests.runtimes.worker.logprob_runtimes import TopKFake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from qgate.runtimes.worker.prompt_logprobs import Reading

VOCABULARY = 300


class Continuing(TopKFake):
    """Wrong in the way that `spoil` says, which sees a call's readings and spans."""

    def __init__(self, spoil: Callable[[list[Reading], Sequence[Span]], list[Reading]]) -> None:
        super().__init__()
        self._spoil = spoil

    def read_prompts(self, spans: Any, top: int, named: Any = None) -> Iterator[Reading]:
        yield from self._spoil(list(super().read_prompts(spans, top, named)), spans)

    def next_tokens(self, prompts: Sequence[np.ndarray]) -> list[tuple[int, float]]:
        found = []
        for ids in prompts:
            token = int(self.logits(ids, len(ids) - 1)[0].argmax())
            span = Span(ids=np.append(ids, np.int32(token)), first=len(ids) - 1)
            (reading,) = super().read_prompts([span], 1)
            found.append((token, float(reading.logprobs[0])))
        return found


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Continuing]:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))

    def make(spoil: Callable[[list[Reading], Sequence[Span]], list[Reading]]) -> Continuing:
        runtime = Continuing(spoil)
        runtime.load(LoadSettings(path=str(path), window_tokens=128))
        return runtime

    return make


def changed(reading: Reading, **fields: Any) -> Reading:
    return dataclasses.replace(reading, **fields)


def test_right_log_probabilities_pass(opened: Callable[..., Continuing]) -> None:
    check_log_probabilities(opened(lambda readings, _: readings), VOCABULARY, 128)


def test_they_pass_where_the_context_is_short(opened: Callable[..., Continuing]) -> None:
    check_log_probabilities(opened(lambda readings, _: readings), VOCABULARY, 16)


def of_the_neighbour(readings: list[Reading], spans: Sequence[Span]) -> list[Reading]:
    """In a batch, each gets what belongs to the one before it, as far as that goes."""
    spoilt = []
    for number, reading in enumerate(readings):
        other = readings[number - 1].logprobs
        size = min(len(other), len(reading.logprobs))
        logprobs = np.concatenate([other[:size], reading.logprobs[size:]])
        spoilt.append(_with(reading, logprobs) if len(readings) > 1 else reading)
    return spoilt


def of_the_position_before(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    return [_with(reading, np.roll(reading.logprobs, 1)) for reading in readings]


def of_other_logits(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    """As at another temperature."""
    return [_with(reading, reading.logprobs * 2.0) for reading in readings]


def by_place_in_the_batch(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    return [
        _with(reading, reading.logprobs - 0.3 * number) for number, reading in enumerate(readings)
    ]


def _with(reading: Reading, logprobs: np.ndarray) -> Reading:
    """Possible ones: no token is more likely than the likeliest."""
    return changed(reading, logprobs=np.minimum(logprobs, reading.top_logprobs[:, 0]))


@pytest.mark.parametrize(
    ("spoil", "how"),
    [
        (of_the_neighbour, "alone and together"),
        (by_place_in_the_batch, "alone and together"),
        (of_the_position_before, "generated and read"),
        (of_other_logits, "generated and read"),
    ],
)
def test_planted_wrong_ones_are_refused(
    opened: Callable[..., Continuing], spoil: Any, how: str
) -> None:
    with pytest.raises(MeasurementError) as caught:
        check_log_probabilities(opened(spoil), VOCABULARY, 128)

    assert str(caught.value).startswith(
        f"this runtime's prompt log-probabilities cannot be trusted: the same tokens, {how}: got"
    )
    assert str(caught.value).endswith("Serve the model in another version or runtime")


def test_a_true_token_that_is_lost_is_refused(opened: Callable[..., Continuing]) -> None:
    def shorter(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
        return [changed(reading, logprobs=reading.logprobs[1:]) for reading in readings]

    with pytest.raises(MeasurementError, match="lost samples"):
        check_log_probabilities(opened(shorter), VOCABULARY, 128)


def test_named_tokens_are_what_they_are_anyway(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))
    runtime = TopKFake(reads_named=True)
    runtime.load(LoadSettings(path=str(path), window_tokens=128))

    check_named_tokens(runtime, VOCABULARY, 128)

    assert runtime.asked == [(5, False), (1, True)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda named: None, "got no log-probabilities of named tokens"),
        (lambda named: named[1:], "got no log-probabilities of named tokens"),
        (lambda named: np.roll(named, 1, axis=0), "the same tokens, named and ranked"),
        (lambda named: named * np.nan, "the same tokens, named and ranked"),
    ],
    ids=["none", "lost", "of another position", "no numbers"],
)
def test_wrong_named_tokens_are_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    class Wrong(TopKFake):
        def read_prompts(self, spans: Any, top: int, named: Any = None) -> Iterator[Reading]:
            for reading in super().read_prompts(spans, top, named):
                told = reading.named_logprobs
                yield reading if told is None else changed(reading, named_logprobs=spoil(told))

    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))
    runtime = Wrong(reads_named=True)
    runtime.load(LoadSettings(path=str(path), window_tokens=128))

    with pytest.raises(MeasurementError, match=message):
        check_named_tokens(runtime, VOCABULARY, 128)
