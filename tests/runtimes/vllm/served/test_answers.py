"""What vLLM says through a real child: greedy, streamed, sampled, until a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.runtimes.base import Heat, Sampling
from qgate.runtimes.verbs import SAMPLE
from qgate.runtimes.worker.stop_strings import cut
from tests.support.vllm_environment import (
    ENDS,
    TOKENS,
    answer,
    prompts,
)

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def test_greedy_answers_are_repeatable_and_exactly_as_many(served: Host) -> None:
    ids = prompts(served)

    once = answer(served, ids, 24, batch_size=4)
    again = answer(served, ids, 24, batch_size=4)
    alone = answer(served, ids, 24, batch_size=1)

    for other in (again, alone):
        assert [one.tolist() for one in other.ids] == [one.tolist() for one in once.ids]
        assert other.ends.tolist() == once.ends.tolist()
        assert other.texts == once.texts
    assert len(once.ids) == len(once.texts) == len(ids)
    for one, end, leads in zip(once.ids, once.ends, once.margins_nats, strict=True):
        assert len(one) == 24 or end in ENDS
        assert len(leads) == len(one) + (end != -1)
        assert not set(one.tolist()) & set(ENDS)
        assert (leads >= 0).all()


def test_an_answer_ends_where_the_model_says_so(served: Host, windows: np.ndarray) -> None:
    ended = [
        window[: int(np.flatnonzero(np.isin(window, ENDS))[0])]
        for window in windows
        if np.isin(window[1:], ENDS).any()
    ]
    found = answer(served, tuple(ended), 200, batch_size=8)

    assert len(ended) > 0
    assert set(found.ends.tolist()) & set(ENDS)


@pytest.mark.parametrize("batch_size", [2, 16])
def test_an_answer_that_stops_is_the_beginning_of_the_whole_one_to_the_bit(
    served: Host, batch_size: int
) -> None:
    """In groups that end early and in one that goes on for one of its prompts."""
    ids = prompts(served)
    whole = answer(served, ids, 48, batch_size)
    stops = [(text[14:17], text[4:6]) if len(text) > 24 else () for text in whole.texts]
    assert sum(map(bool, stops)) >= 3

    for until in (stops, [stops[0], (), *stops[2:]]):
        found = answer(served, ids, 48, batch_size, stops=until)
        after = answer(served, ids, 48, batch_size)

        for some, all_of_it, later in (
            (found.ids, whole.ids, after.ids),
            (found.margins_nats, whole.margins_nats, after.margins_nats),
        ):
            assert [one.tobytes() for one in later] == [one.tobytes() for one in all_of_it]
            for short, long, own in zip(some, all_of_it, until, strict=True):
                assert short.tobytes() == long[: len(short)].tobytes()
                assert (len(short) < len(long)) == bool(own)
        for told, text, own in zip(found.texts, whole.texts, until, strict=True):
            assert cut(told, own) == cut(text, own)


def test_conversations_are_written_however_long_they_are_together(served: Host) -> None:
    """More tokens than a step reads: a prompt that were read in two could not be sampled."""
    turn, count = prompts(served)[0], 18
    drawn = Sampling(
        sequences=count,
        tokens=TOKENS,
        seed=0,
        heat=Heat(temperature=0.8, top_k=40, top_p=0.95, min_p=0.05),
        turns=((np.resize(turn, 150), *[turn] * 40),) * count,
        answer_tokens=16,
        ends=ENDS,
    )
    once, again = SAMPLE.ask(served, drawn), SAMPLE.ask(served, drawn)

    assert once.ids.shape == (count, TOKENS)
    assert (once.answers >= 0).any(axis=1).all()
    assert (once.ids == again.ids).all()
