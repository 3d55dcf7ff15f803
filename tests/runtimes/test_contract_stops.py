"""What every adapter promises of answers that may stop at a string; as `test_contract_text.py`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from qgate.runtimes.base import Answer, Prompt
from qgate.runtimes.worker.stop_strings import cut, settled_at

if TYPE_CHECKING:
    from tests.runtimes.conftest import Served

SIZES = [9, 4, 17, 2, 12, 30]
MOST = 64


def prompts_of(served: Served) -> list[Prompt]:
    return [
        Prompt(ids=served.ids(500 + number, size), max_tokens=MOST)
        for number, size in enumerate(SIZES)
    ]


def stops_in(served: Served, answers: list[Answer]) -> list[tuple[str, ...]]:
    """For each answer two strings that it says, the later one first."""
    texts = [served.runtime.decode(answer.ids).replace("\ufffd", "") for answer in answers]
    return [(text[14:17], text[4:6]) if len(text) > 24 else () for text in texts]


def with_stops(prompts: list[Prompt], stops: list[tuple[str, ...]]) -> list[Prompt]:
    return [
        dataclasses.replace(prompt, stops=one) for prompt, one in zip(prompts, stops, strict=True)
    ]


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_an_answer_that_stops_is_the_beginning_of_the_whole_one_to_the_bit(
    served: Served, batch_size: int
) -> None:
    prompts = prompts_of(served)
    whole = served.answer(prompts, batch_size)
    stops = stops_in(served, whole)
    assert sum(map(bool, stops)) >= 2

    found = served.answer(with_stops(prompts, stops), batch_size)

    assert len(found) == len(prompts)
    for short, long, until in zip(found, whole, stops, strict=True):
        size = len(short.ids)
        assert short.ids.tobytes() == long.ids[:size].tobytes()
        if not until:
            assert (short.end, size) == (long.end, len(long.ids))
            continue
        text, told = (served.runtime.decode(one.ids) for one in (long, short))
        assert cut(told, until) == cut(text, until)
        assert size < len(long.ids)
        assert short.end is None
        assert short.margins_nats.tobytes() == long.margins_nats[:size].tobytes()
        assert settled_at(told, until) is not None
        assert settled_at(served.runtime.decode(short.ids[:-1]), until) is None


def test_an_answer_stops_at_the_same_token_whoever_goes_on_beside_it(served: Served) -> None:
    prompts = prompts_of(served)
    whole = served.answer(prompts, len(prompts))
    stops = stops_in(served, whole)
    number = next(number for number, one in enumerate(stops) if one)
    alone = [one if at == number else () for at, one in enumerate(stops)]

    among_others = served.answer(with_stops(prompts, stops), len(prompts))[number]
    among_endless = served.answer(with_stops(prompts, alone), len(prompts))[number]

    assert among_others.ids.tobytes() == among_endless.ids.tobytes()
    assert among_others.margins_nats.tobytes() == among_endless.margins_nats.tobytes()


def test_decoding_ends_when_all_have_stopped(served: Served) -> None:
    if served.name == "fake":
        pytest.skip("it has no steps to save")
    tried = (Prompt(ids=served.ids(600 + seed, 9), max_tokens=200) for seed in range(40))
    prompt, said = next(
        (prompt, one.ids)
        for prompt in tried
        for one in served.answer([prompt])
        if len(one.ids) == prompt.max_tokens
    )
    stop = served.runtime.decode(said)[4:6]
    told: list[int] = []

    def note(_: str, done: int, __: int, ___: tuple[int, int] | None = None, /) -> None:
        told.append(done)

    served.runtime.answer([prompt], 1, note)
    assert max(told) > 180
    told.clear()
    served.runtime.answer([dataclasses.replace(prompt, stops=(stop,))], 1, note)
    assert max(told) < 20
