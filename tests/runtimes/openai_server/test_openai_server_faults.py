"""Whatever a server does wrong ends in one line that says so, and never in an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError, QGateError, RuntimeFailed, RuntimeUnavailable
from qgate.runtimes.worker.token_timing import time_request
from tests.runtimes.openai_server.faulty_server import (
    BOS,
    FIRST,
    Planted,
    load,
    prompt,
    serving,
)

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.runtimes.base import Answer

TIMEOUT_S = 0.4
SLOW = ("hang", "trickle")
"""Faults that are seen by nothing but the clock."""


def answer(toy: Planted, model: Path) -> list[Answer]:
    runtime, _ = load(toy, model, timeout_s=TIMEOUT_S if toy.fault in SLOW else 60)
    return runtime.answer([prompt("xyz", 5)], 1, lambda *_: None)


def stream(toy: Planted, model: Path) -> np.ndarray:
    runtime, _ = load(toy, model, timeout_s=TIMEOUT_S if toy.fault in SLOW else 60)
    found: np.ndarray = time_request(runtime, np.array([BOS, FIRST], np.int32), 8)
    return found


ANSWERS: dict[str, tuple[type[QGateError], str]] = {
    "hang": (RuntimeFailed, "/v1/completions: no answer, or no end of it, within 0.4 s"),
    "trickle": (RuntimeFailed, "/v1/completions: no answer, or no end of it, within 0.4 s"),
    "500": (RuntimeFailed, "/v1/completions: got 500 'EngineCore encountered an issue'"),
    "400": (MeasurementError, "/v1/completions: got 400 'maximum context length is 128 tokens'"),
    "cut short": (RuntimeFailed, "/v1/completions: the answer is cut short: "),
    "no JSON": (MeasurementError, "/v1/completions: got '<html>busy</html>'; expected JSON"),
    "endless": (MeasurementError, "/v1/completions: the answer does not end: got "),
    "NaN": (MeasurementError, "expected JSON"),
    "no choice": (MeasurementError, "/v1/completions: choices: got 0; expected 1"),
    "not greedy": (MeasurementError, "the answer is not greedy: got a token 0.5 nats less likely"),
    "lost logprobs": (MeasurementError, "lost tokens: got log-probabilities of 4; expected 5"),
    "other ids": (MeasurementError, "got 5 that are not those of their 5 log-probabilities"),
    "names": (MeasurementError, "token ids: got no log-probability of 'x' itself"),
    "ids are texts": (MeasurementError, "choices[0]: token_ids[0]: got '3'; expected an int"),
    "ids are negative": (MeasurementError, "choices[0]: token_ids[0]: got -1; expected an inte"),
    "text is a number": (MeasurementError, "choices[0]: text: got 5; expected a text"),
    "aborted": (MeasurementError, "got 'abort'; expected 'stop' or 'length'"),
    "fewer": (MeasurementError, "lost tokens: got 4 of an answer that finished at its length"),
    "miscounted": (MeasurementError, "at its length and counts 99, with margins of 5; expected 5"),
    "other prompt": (MeasurementError, "prompt: the server read 5 tokens; expected 4"),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_a_bad_answer_is_an_error_in_one_line(model: Path, fault: str) -> None:
    kind, message = ANSWERS[fault]
    with serving(Planted(fault=fault)) as toy, pytest.raises(QGateError) as caught:
        answer(toy, model)
    assert type(caught.value) is kind
    assert str(caught.value).startswith("openai_server: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


STREAMS: dict[str, tuple[type[QGateError], str]] = {
    "two at once": (MeasurementError, "got 2 tokens in one event of the stream; expected one"),
    "one too few": (MeasurementError, "lost tokens: got 7 events with a token, the last one with"),
    "one too many": (MeasurementError, "lost count: got more than 8 tokens; expected 8"),
    "unfinished": (MeasurementError, "lost tokens: got 8 events with a token, the last one with"),
    "breaks off": (RuntimeFailed, "/v1/completions: the stream breaks off: 'out of memory'"),
    "event is no JSON": (MeasurementError, "/v1/completions: got ' {half'; expected JSON"),
    "endless": (MeasurementError, "/v1/completions: the answer does not end: got "),
    "endless line": (MeasurementError, "a line of the stream does not end: got "),
    "trickle": (RuntimeFailed, "/v1/completions: no answer, or no end of it, within 0.4 s"),
    "held back": (MeasurementError, "the stream is held back: got "),
}


@pytest.mark.parametrize("fault", STREAMS)
def test_a_bad_stream_is_an_error_in_one_line(model: Path, fault: str) -> None:
    kind, message = STREAMS[fault]
    with serving(Planted(fault=fault)) as toy, pytest.raises(QGateError) as caught:
        stream(toy, model)
    assert isinstance(caught.value, kind)
    assert str(caught.value).startswith("openai_server: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_server_without_a_fault_answers(model: Path) -> None:
    with serving(Planted()) as toy:
        assert len(answer(toy, model)[0].ids) == 5
        assert stream(toy, model).shape == (8,)


def test_a_refused_request_is_told_by_its_place(model: Path) -> None:
    told: list[tuple[object, ...]] = []
    prompts = [prompt(letter, 5) for letter in "abcdefgh"]
    with serving(Planted(refused=prompts[5].ids.tolist())) as toy:
        runtime, _ = load(toy, model)
        with pytest.raises(MeasurementError, match="got 400"):
            runtime.answer(prompts, 2, lambda *said: told.append(said))

    *before, (what, done, total, at) = told
    assert (what, total, at) == ("answering", 8, (5, 6))
    assert before == [("answering", number, 8) for number in range(1, len(before) + 1)]
    assert done == len(before)


def test_one_failed_request_fails_all_and_does_not_wait_for_the_rest(model: Path) -> None:
    with serving(Planted(fault="500", gap_s=0.05)) as toy:
        runtime, _ = load(toy, model)
        started = time.monotonic()
        with pytest.raises(RuntimeFailed, match="got 500"):
            runtime.answer([prompt("x", 4) for _ in range(200)], 2, lambda *_: None)
        assert time.monotonic() - started < 2.0
        assert len([path for path, _ in toy.asked if path == "/v1/completions"]) < 20


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            "redirect",
            RuntimeUnavailable,
            "/v1/models: got 302 without a word; expected no redirect",
        ),
        ("models are no JSON", MeasurementError, "got '<html>hello</html>'; expected JSON"),
    ],
)
def test_what_is_no_such_server_is_not_loaded(
    model: Path, fault: str, kind: type[QGateError], message: str
) -> None:
    with serving(Planted(fault=fault)) as toy, pytest.raises(kind) as caught:
        load(toy, model)
    assert message in str(caught.value)
