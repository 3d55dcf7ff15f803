"""What every adapter promises of answers and streams; as `test_contract.py`."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.runtimes.base import Prompt
from tests.conftest import Toy, write_toy
from tests.runtimes.conftest import PACKED, Served, open_model, spans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROMPTS = [1, 29, 4, 17, 2, 9, 30, 3, 12, 5, 8, 21, 1, 6, 25, 11, 7]
"""Sizes."""


def prompts_of(served: Served, sizes: list[int], max_tokens: int = 12) -> list[Prompt]:
    return [
        Prompt(ids=served.ids(200 + number, size), max_tokens=max_tokens)
        for number, size in enumerate(sizes)
    ]


def shortfall(served: Served, prompt: Prompt, answer: np.ndarray) -> float:
    """By how much the worst token of an answer was not the most likely one, in logits."""
    ids, worst = prompt.ids, 0.0
    for token in answer:
        logits = served.logits(ids, len(ids) - 1)[0]
        worst = max(worst, float(logits.max() - logits[token]))
        ids = np.append(ids, token).astype(np.int32)
    return worst


class TestAnswers:
    @pytest.mark.parametrize("batch_size", [1, 4, 16, 64])
    @pytest.mark.parametrize("count", [1, 5, 17])
    def test_every_prompt_gets_the_most_likely_answer_in_its_order(
        self, served: Served, count: int, batch_size: int
    ) -> None:
        prompts = prompts_of(served, PROMPTS[:count])

        answers = served.answer(prompts, batch_size)

        assert len(answers) == count
        for prompt, answer in zip(prompts, answers, strict=True):
            assert answer.ids.dtype == np.int32
            # a token of another prompt's answer falls short by many logits
            assert shortfall(served, prompt, answer.ids) <= PACKED
        assert len({answer.ids.tobytes() for answer in answers}) > count // 2

    @pytest.mark.parametrize("batch_size", [1, 16])
    def test_answers_repeat_themselves_to_the_bit_whatever_came_between(
        self, served: Served, batch_size: int
    ) -> None:
        prompts = prompts_of(served, PROMPTS)

        once = served.answer(prompts, batch_size)
        served.logits(served.ids(2), 5)
        served.score(served.ids(3)[None])
        served.sample(sequences=3, tokens=10, seed=0)
        served.rows(spans_of(served, [12, 40]))
        served.say(served.ids(4), 5)
        served.answer(prompts[:3], 2)
        again = served.answer(prompts, batch_size)
        with closing(open_model(served.name, served.path).runtime) as fresh:
            elsewhere = fresh.answer(prompts, batch_size, lambda *_: None)

        for one, *others in zip(once, again, elsewhere, strict=True):
            assert all(one.ids.tobytes() == other.ids.tobytes() for other in others)
            assert all(one.end == other.end for other in others)
            margins = [other.margins_nats.tobytes() for other in others]
            assert margins == [one.margins_nats.tobytes()] * len(others)

    @pytest.mark.parametrize("batch_size", [1, 3])
    def test_an_answer_is_never_longer_than_asked_for(
        self, served: Served, batch_size: int
    ) -> None:
        lengths = [1, 20, 2, 7, 1, 3]
        prompts = [Prompt(ids=served.ids(300 + length, 5), max_tokens=length) for length in lengths]

        answers = served.answer(prompts, batch_size)

        for length, answer in zip(lengths, answers, strict=True):
            assert len(answer.ids) <= length
            assert (answer.end is None) == (len(answer.ids) == length)

    @pytest.mark.parametrize("batch_size", [1, 4, 16])
    def test_every_prompt_is_told_of_before_it_is_answered(
        self, served: Served, batch_size: int
    ) -> None:
        told: list[tuple[Any, ...]] = []

        served.runtime.answer(
            prompts_of(served, [5] * 10), batch_size, lambda *said: told.append(said)
        )

        places = [said for said in told if len(said) == 4 and said[3] is not None]
        assert {(what, total) for what, _, total, _ in places} == {("answering", 10)}
        stops = [stop for *_, (_, stop) in places]
        assert [done for _, done, _, _ in places] == [0, *stops[:-1]]
        assert stops[-1] == 10
        assert all(0 < stop - first <= batch_size for *_, (first, stop) in places)

    def test_every_token_of_an_answer_has_its_lead_over_the_next_best(self, served: Served) -> None:
        prompt = Prompt(ids=served.ids(5, 9), max_tokens=10)

        [answer] = served.answer([prompt])

        ids = prompt.ids
        said = [*answer.ids, *([] if answer.end is None else [answer.end])]
        assert answer.margins_nats.dtype == np.float32
        assert answer.margins_nats.shape == (len(said),)
        for token, margin in zip(said, answer.margins_nats, strict=True):
            second, first = np.sort(served.logits(ids, len(ids) - 1)[0])[-2:]
            assert margin == pytest.approx(first - second, abs=PACKED)
            ids = np.append(ids, token).astype(np.int32)

    def test_a_shorter_answer_is_the_beginning_of_a_longer_one(self, served: Served) -> None:
        ids = served.ids(5, 9)

        [long] = served.answer([Prompt(ids=ids, max_tokens=20)])
        [short] = served.answer([Prompt(ids=ids, max_tokens=7)])

        assert short.ids.tolist() == long.ids[:7].tolist()


@pytest.fixture
def ending(served: Served, tmp_path: Path) -> Iterator[tuple[Served, np.ndarray, list[int], int]]:
    """A model that ends a text where it said something else before: prompt, text, place."""
    ids = served.ids(5, 9)
    said = served.say(ids, 24)
    place = next(at for at in range(3, 24) if said[at] not in said[:at])
    path = served.kind.that_ends(served.path, said[place], tmp_path)
    model = open_model(served.name, path)
    yield model, ids, said, place
    model.runtime.close()


class TestEnds:
    def test_an_answer_tells_the_token_that_ended_it_and_leaves_it_out(
        self, ending: tuple[Served, np.ndarray, list[int], int]
    ) -> None:
        model, ids, said, place = ending

        [answer] = model.answer([Prompt(ids=ids, max_tokens=24)])

        assert answer.end == said[place]
        assert len(answer.margins_nats) == place + 1
        assert answer.end in model.facts.end_tokens
        assert answer.ids.tolist() == said[:place]

    def test_an_answer_that_ends_leaves_the_others_as_they_are(
        self, ending: tuple[Served, np.ndarray, list[int], int]
    ) -> None:
        model, ids, said, place = ending
        others = prompts_of(model, PROMPTS[:4])

        answers = model.answer([*others[:2], Prompt(ids=ids, max_tokens=24), *others[2:]], 16)

        assert answers[2].ids.tolist() == said[:place]
        for prompt, answer in zip(others, answers[:2] + answers[3:], strict=True):
            ended = [] if answer.end is None else [answer.end]
            whole = np.append(answer.ids, ended).astype(np.int32)
            assert ended or len(whole) == prompt.max_tokens
            assert shortfall(model, prompt, whole) <= PACKED

    def test_an_answer_may_end_with_its_last_token(
        self, ending: tuple[Served, np.ndarray, list[int], int]
    ) -> None:
        model, ids, said, place = ending

        [up_to_it, with_it] = model.answer(
            [Prompt(ids=ids, max_tokens=place), Prompt(ids=ids, max_tokens=place + 1)]
        )

        assert (up_to_it.end, len(up_to_it.ids)) == (None, place)
        assert (with_it.end, len(with_it.ids)) == (said[place], place)

    def test_a_stream_goes_on_past_an_end_for_exactly_as_long_as_asked(
        self, ending: tuple[Served, np.ndarray, list[int], int]
    ) -> None:
        model, ids, said, place = ending

        for count in (1, place, place + 1, 24):
            assert model.say(ids, count) == said[:count]


class TestStreams:
    def test_a_stream_says_what_an_answer_does(self, served: Served) -> None:
        prompt = Prompt(ids=served.ids(5, 40), max_tokens=15)

        [answer] = served.answer([prompt])

        assert served.say(prompt.ids, 15)[: len(answer.ids)] == answer.ids.tolist()

    def test_a_stream_begins_anew_each_time(self, served: Served) -> None:
        ids, other = served.ids(5, 20), served.ids(6, 20)

        once, between, again = served.say(ids, 9), served.say(other, 9), served.say(ids, 9)

        assert once == again
        assert once != between

    def test_a_prompt_longer_than_a_call_is_read_whole(self, served: Served) -> None:
        ids = served.ids(7, 700)  # llama.cpp reads 512 at a time

        said = served.say(ids, 3)

        long = open_model(served.name, served.path, 1024)
        with closing(long.runtime):
            logits = long.logits(ids, len(ids) - 1)[0]
            assert logits.max() - logits[said[0]] <= PACKED
        [answer] = served.answer([Prompt(ids=ids, max_tokens=3)])
        assert answer.ids.tolist() == said


def test_logits_that_are_none_are_never_said(toys: Callable[..., Path]) -> None:
    path = write_toy(toys() / "original.gguf", Toy(scheme="F32", fault="nan:score"))
    model = open_model("fake", path)

    with pytest.raises(MeasurementError, match="not finite while it generates text"):
        model.answer([Prompt(ids=model.ids(0, 5), max_tokens=3)])
    with pytest.raises(MeasurementError, match="not finite while it generates text"):
        model.say(model.ids(0, 5), 3)
