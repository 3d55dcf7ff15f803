"""What every runtime promises of answers that are drawn: conversations, and what may be drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import Heat, Sampled, Sampling
from qgate.runtimes.worker.sampling import draw

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served

SERVED = Heat(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05)


def converse(
    served: Served, turns: list[list[int]], heat: Heat = SERVED, tokens: int = 48, answer: int = 6
) -> Sampled:
    given = tuple(np.array(turn, dtype=np.int32) for turn in turns)
    sampling = Sampling(
        sequences=2,
        tokens=tokens,
        seed=3,
        heat=heat,
        turns=(given, given[::-1]),
        answer_tokens=answer,
        ends=served.facts.end_tokens,
    )
    return served.runtime.sample(sampling, lambda *_: None)


def turns_of(served: Served, count: int = 16) -> list[list[int]]:
    return [served.ids(number, 3 + number % 4).tolist() for number in range(count)]


def test_turns_are_given_and_answers_are_the_models(served: Served) -> None:
    turns = turns_of(served)

    found = converse(served, turns)

    for ids, answers, given in zip(found.ids, found.answers, (turns, turns[::-1]), strict=True):
        at = 0
        for turn, said in enumerate(given):
            told = ids[at : at + len(said)]
            assert told.tolist() == said[: len(told)]
            assert (answers[at : at + len(said)] == -1).all()
            at += len(said)
            length = int((answers == turn).sum())
            assert (answers[at : at + length] == turn).all()
            ended = np.isin(ids[at : at + length], served.facts.end_tokens)
            assert length <= 6
            assert not ended[:-1].any()
            assert at + length >= len(ids) or length == 6 or ended[-1]
            at += length
            if at >= len(ids):
                break


def test_answers_without_heat_are_the_greedy_ones(served: Served) -> None:
    turns = turns_of(served)

    found = converse(served, turns, Heat(top_k=1))

    for ids, answers in zip(found.ids, found.answers, strict=True):
        for at in np.flatnonzero(answers >= 0)[:8]:
            logits = served.logits(ids[:at], int(at) - 1)[0]
            assert logits[ids[at]] == pytest.approx(logits.max(), abs=2e-2)


def test_answers_do_not_hang_on_what_is_beside_them(served: Served) -> None:
    turns = turns_of(served)
    one, other = converse(served, turns), converse(served, turns)

    assert one.ids.tobytes() == other.ids.tobytes()
    assert one.answers.tobytes() == other.answers.tobytes()


# What may be drawn

LOGITS = np.log(np.array([[0.4, 0.05, 0.3, 0.01, 0.24]], dtype=np.float32))


def reached(heat: Heat) -> list[int]:
    """Every token that some uniform number draws."""
    rows = np.repeat(LOGITS, 2001, axis=0)
    return sorted(set(draw(rows, np.linspace(0, 1, 2001, endpoint=False), heat).tolist()))


@pytest.mark.parametrize(
    ("heat", "tokens"),
    [
        (Heat(), [0, 1, 2, 3, 4]),
        (Heat(top_k=2), [0, 2]),
        (Heat(top_k=9), [0, 1, 2, 3, 4]),
        (Heat(top_p=0.5), [0, 2]),
        (Heat(top_p=0.95), [0, 1, 2, 4]),
        (Heat(min_p=0.5), [0, 2, 4]),
        (Heat(top_k=3, top_p=0.5), [0, 2]),
        (Heat(top_k=1, temperature=9.0), [0]),
    ],
)
def test_each_sampler_leaves_what_llama_cpps_does(heat: Heat, tokens: list[int]) -> None:
    assert reached(heat) == tokens


def test_temperature_changes_shares_and_not_what_is_left() -> None:
    uniform = np.linspace(0, 1, 100_001, endpoint=False)
    drawn = draw(np.repeat(LOGITS, len(uniform), axis=0), uniform, Heat(top_k=2, temperature=0.5))

    assert (drawn == 0).mean() == pytest.approx(0.4**2 / (0.4**2 + 0.3**2), abs=1e-4)


@pytest.mark.parametrize("heat", [Heat(), SERVED])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_are_not_finite_draw_nothing(heat: Heat, bad: float) -> None:
    logits = LOGITS.copy()
    logits[0, 3] = bad

    with pytest.raises(MeasurementError, match="not finite while it generates text"):
        draw(logits, np.array([0.5]), heat)


def test_turns_that_do_not_fill_a_sequence_are_an_error(served: Served) -> None:
    with pytest.raises(MeasurementError, match="lost turns: got 1; expected enough to fill 48"):
        converse(served, turns_of(served, 1))
