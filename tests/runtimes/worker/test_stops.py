"""Where answers end early: as soon as nothing changes what their readers leave of them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from qgate.runtimes.base import Answer, Prompt
from qgate.runtimes.worker.stop_strings import SideBySide, cut, first_of, settled_at, shortened

GSM8K = ("Question:", "</s>", "<|im_end|>")


def answer(text: str, end: int | None = None) -> Answer:
    """A token a byte."""
    ids = np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int32)
    leads = np.arange(len(ids) + (end is not None), dtype=np.float32)
    return Answer(ids=ids, end=end, margins_nats=leads)


def decode(ids: np.ndarray) -> str:
    return bytes(ids.tolist()).decode("utf-8", "replace")


def test_nothing_that_follows_changes_what_is_left_of_a_settled_text() -> None:
    """Stops over two letters: they overlap, hold one another, and come twice."""
    rng = random.Random(0)
    settled = 0
    for _ in range(20_000):
        stops = ["".join(rng.choices("ab ", k=rng.randint(0, 4))) for _ in range(rng.randint(1, 4))]
        text = "".join(rng.choices("ab ", k=rng.randint(0, 30)))
        size = settled_at(text, stops)
        if size is None:
            continue
        settled += 1
        more = text[:size] + "".join(rng.choices("ab ", k=rng.randint(0, 12)))
        for other in (text, more):
            assert cut(text[:size], stops) == cut(other, stops)
            assert cut(text[:size].removeprefix(" "), stops) == cut(other.removeprefix(" "), stops)
    assert settled > 5_000


def test_one_stop_settles_a_text_as_soon_as_it_is_there() -> None:
    assert settled_at("3 + 4 = 7\n", ["\n"]) == 10
    assert settled_at("3 + 4 = 7\n5 + 5", ["\n"]) == 10
    assert settled_at("3 + 4 = 7", ["\n"]) is None


def test_several_stops_need_as_much_behind_the_first_as_the_others_could_take_away() -> None:
    said = "#### 7\n\nQuestion:"
    others = sum(len(stop) - 1 for stop in GSM8K[1:])

    assert settled_at(said + "x" * (others - 1), GSM8K) is None
    assert settled_at(said + "x" * others, GSM8K) == len(said) + others
    # the order decides where they overlap: the first one is cut off first
    assert cut("xyAB", ["AB", "yA"]) == "xy"
    assert settled_at("xyA", ["AB", "yA"]) is None


@pytest.mark.parametrize("stops", [(), ("",), ("", "")])
def test_without_a_stop_nothing_is_ever_settled(stops: tuple[str, ...]) -> None:
    said = answer("a\nb", end=4)

    assert settled_at("a\nb", stops) is None
    assert shortened(said, stops, decode) is said


def test_a_space_at_the_beginning_is_no_stop_for_some_readers_drop_it() -> None:
    assert settled_at(" yes", [" "]) is None
    assert settled_at(" yes no", [" "]) == 5


def test_half_a_character_is_not_counted() -> None:
    said = answer("é\né")

    assert settled_at(decode(said.ids[:1]), ["\ufffd"]) is None
    assert decode(shortened(said, ["\n"], decode).ids) == "é\n"


@pytest.mark.parametrize("end", [None, 9])
def test_a_shortened_answer_has_the_leads_of_its_tokens_and_no_end(end: int | None) -> None:
    found = shortened(answer("abc\nde", end), ["\n"], decode)

    assert decode(found.ids) == "abc\n"
    assert found.margins_nats.tolist() == [0, 1, 2, 3]
    assert found.end is None


def test_an_answer_that_nothing_settles_keeps_its_end() -> None:
    said = answer("abc", end=9)

    assert shortened(said, ["\n"], decode) is said
    assert first_of(said, 99).margins_nats.tolist() == [0, 1, 2]


def test_those_side_by_side_go_on_until_all_of_them_are_settled() -> None:
    texts = ["ab\n" + "x" * 40, "abcdefghij" * 2 + "\n" + "y" * 20, "k"]
    prompts = [Prompt(ids=np.array([1]), max_tokens=40, stops=("\n",)) for _ in texts]
    given, steps = SideBySide(prompts, decode), 0
    chosen = list(range(len(texts)))
    while True:
        chosen = [
            number
            for number in chosen
            if given.add(
                number, (texts[number] + "\x04").encode()[steps], 0.5, is_end=texts[number] == "k"
            )
        ]
        steps += 1
        if given.are_settled(chosen):
            break

    assert len(texts[1].split("\n")[0]) < steps < 40
    kept = given.answers()
    assert [decode(one.ids) for one in kept] == ["ab\n", "abcdefghij" * 2 + "\n", ""]
    assert [one.end for one in kept] == [None, None, ord("k")]
    assert [len(one.margins_nats) for one in kept] == [3, 21, 1]


def test_one_prompt_without_stops_has_all_go_on() -> None:
    prompts = [Prompt(ids=np.array([1]), max_tokens=32, stops=stops) for stops in (("\n",), ())]
    given = SideBySide(prompts, decode)

    for step in range(32):
        going = [number for number in (0, 1) if given.add(number, 10, 0.5, is_end=False)]
        assert given.are_settled(going) == (step == 31)
    assert [len(one.ids) for one in given.answers()] == [1, 32]
