"""From requests to work and back, without a model: tokens are bytes."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.plan import plan, refusal, responses
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from qgate.runtimes.requests import TokenizerClient

    Speak = Callable[[int], TokenizerClient]

GREEDY = {"until": ["\n"], "max_gen_toks": 8, "do_sample": False}


def request(kind: str, *args: Any) -> Any:
    return SimpleNamespace(request_type=kind, args=args, task_name="made", doc_id=3)


def text_of(ids: np.ndarray) -> str:
    return bytes(ids.tolist()).decode()


def test_spaces_at_the_end_of_a_context_are_scored_with_what_follows(speak: Speak) -> None:
    work = plan([request("loglikelihood", "Say  ", "yes")], speak(64))

    [span] = work.spans
    assert text_of(span.ids) == "\x01Say  yes"
    assert text_of(span.ids[span.first + 1 :]) == "  yes"


def test_what_does_not_fit_is_cut_on_the_left_and_counted(speak: Speak) -> None:
    work = plan(
        [
            request("loglikelihood", "x" * 20, "abc"),
            request("loglikelihood", "x", "abc"),
            request("generate_until", "y" * 20, GREEDY),
        ],
        speak(12),
    )

    assert [text_of(span.ids) for span in work.spans] == ["x" * 10 + "abc", "\x01xabc"]
    assert [text_of(prompt.ids) for prompt in work.batches[0].prompts] == ["y" * 4]
    assert work.truncated == 2


def test_an_answer_that_cannot_fit_is_refused(speak: Speak) -> None:
    long = {**GREEDY, "max_gen_toks": 64}
    for one in (
        request("generate_until", "y", long),
        request("loglikelihood", "y", "z" * 65),
    ):
        with pytest.raises(MeasurementError) as caught:
            plan([one], speak(64))
        assert str(caught.value) == (
            "made: doc 3 does not fit the context: got 65 tokens to score or to generate; expected"
            " at most 64. Set max_tokens, or name a task with shorter answers"
        )


def test_a_continuation_without_a_token_is_refused(speak: Speak) -> None:
    with pytest.raises(MeasurementError, match="doc 3: got no token of its own for ''"):
        plan([request("loglikelihood", "y", "")], speak(64))


def test_every_token_of_a_text_is_scored_once(speak: Speak) -> None:
    text = "".join(chr(97 + number % 26) for number in range(100))
    work = plan([request("loglikelihood_rolling", text)], speak(16))

    scored = [text_of(span.ids[span.first + 1 :]) for span in work.spans]
    assert "".join(scored) == f"\x01{text}"
    assert max(len(span.ids) for span in work.spans) == 17


def test_answers_come_back_to_their_requests(speak: Speak) -> None:
    requests = [
        request("generate_until", "a", GREEDY),
        request("loglikelihood", "b", "cd"),
        request("loglikelihood_rolling", "x" * 20),
        request("generate_until", "e", {**GREEDY, "until": ["stop", "!"]}),
    ]
    work = plan(requests, speak(12))
    windows = len(work.spans) - 1
    outcome = make_outcome(
        make_answers("one\ntwo", "go! stop"),
        nll=[[1.0, 2.0], *[[0.5]] * windows],
        tops=[[True, True], *[[False]] * windows],
    )

    assert responses(work, outcome) == ["one", (-3.0, True), -0.5 * windows, "go"]


def test_a_lost_answer_is_never_left_out(speak: Speak) -> None:
    work = plan([request("loglikelihood", "b", "cd")] * 2, speak(12))
    whole = make_outcome(nll=[[1.0, 2.0]] * 2)

    assert len(responses(work, whole)) == 2
    with pytest.raises(MeasurementError, match="lost answers: got 1 likelihoods"):
        responses(work, dataclasses.replace(whole, nll_nats=whole.nll_nats[:1]))


@pytest.mark.parametrize(
    ("how", "is_refused"),
    [
        ({"do_sample": True, "temperature": 0.2}, True),
        ({"temperature": 0.2}, True),
        ({"do_sample": False, "num_beams": 4}, True),
        ({"do_sample": False, "temperature": 0.2}, False),
        ({"do_sample": True, "temperature": 0.0}, False),
        ({"repetition_penalty": 1.1}, True),
        ({"repetition_penalty": 1.0, "min_new_tokens": 0}, False),
        ({"min_new_tokens": 5}, True),
        ({}, False),
    ],
)
def test_only_greedy_answers_are_asked_for(
    speak: Speak, how: dict[str, Any], is_refused: bool
) -> None:
    assert bool(refusal(how)) == is_refused
    one = request("generate_until", "a", {"until": ["."], "max_gen_toks": 4, **how})
    if is_refused:
        with pytest.raises(MeasurementError, match=r"made: doc 3: got .*; expected greedy answers"):
            plan([one], speak(64))
    else:
        assert len(plan([one], speak(64)).batches[0].prompts) == 1
