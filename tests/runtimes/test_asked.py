"""What a child was being asked when it failed is said by name, and only where it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.errors import MeasurementError, QGateError, RequestProgress, RuntimeFailed, with_subject
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Work, naming_inflight, perform
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

IDS = np.array([1, 5, 9], dtype=np.int32)
PROMPTS = [Prompt(ids=IDS, max_tokens=4, name=f"item {letter}") for letter in "abcdefgh"]


def fail(error: QGateError, pieces: list[Any], kind: str = "prompt", **reached: int) -> QGateError:
    """What becomes of an error on the way."""
    if reached:
        error.reached = RequestProgress(**reached)
    with pytest.raises(QGateError) as caught, naming_inflight(pieces, kind):
        raise error
    return caught.value


LINES = {
    (2, 3): "item c, after 2 of 8 prompts",
    (2, 5): "item c, item d, item e, after 2 of 8 prompts",
    (2, 8): "item c, item d, item e and 3 more, after 2 of 8 prompts",
}


@pytest.mark.parametrize("at", LINES, ids=str)
def test_the_line_names_the_first_and_the_details_all(at: tuple[int, int]) -> None:
    found = fail(RuntimeFailed("it crashed"), PROMPTS, done=2, total=8, first=at[0], stop=at[1])

    assert str(found) == f"it crashed (asked at the time: {LINES[at]})"
    assert found.details == {
        "asked_when_failed": [prompt.name for prompt in PROMPTS[slice(*at)]],
        "done": 2,
        "total": 8,
    }


def test_the_kind_of_error_and_its_last_words_stay() -> None:
    crash = fail(RuntimeFailed("it crashed", "boom"), PROMPTS, done=0, total=8, first=0, stop=1)
    refusal = fail(MeasurementError("got 400"), PROMPTS, done=0, total=8, first=0, stop=1)

    assert (type(crash), type(refusal)) == (RuntimeFailed, MeasurementError)
    assert isinstance(crash, RuntimeFailed)
    assert crash.last_words == "boom"


def test_whose_error_it_is_can_be_said_afterwards() -> None:
    found = fail(RuntimeFailed("it crashed", "boom"), PROMPTS, done=0, total=8, first=0, stop=1)

    told = with_subject(found, "reference original")

    assert str(told) == f"reference original: {found}"
    assert told.details == found.details != {}


def test_what_has_no_name_is_told_by_its_place_and_one_name_once() -> None:
    spans = [Span(ids=IDS, first=0) for _ in range(4)]
    choices = [Span(ids=IDS, first=0, name=f"item {item}") for item in "abcd" for _ in range(3)]

    places = fail(RuntimeFailed("x"), spans, "sequence", done=1, total=4, first=1, stop=3)
    items = fail(RuntimeFailed("x"), choices, "sequence", done=2, total=12, first=2, stop=7)

    assert places.details["asked_when_failed"] == ["sequence 2", "sequence 3"]
    assert items.details["asked_when_failed"] == ["item a", "item b", "item c"]
    assert str(items).endswith(": item a, item b, item c, after 2 of 12 sequences)")


def test_a_name_cannot_break_the_line() -> None:
    prompts = [Prompt(ids=IDS, max_tokens=1, name="item \x1b[2J\n\u2028" + "x" * 500)]

    found = fail(RuntimeFailed("x"), prompts, done=0, total=1, first=0, stop=1)

    assert str(found).isprintable()
    assert len(str(found)) < 150


LIES = [
    {"done": 0, "total": 7, "first": 0, "stop": 1},
    {"done": 9, "total": 8, "first": 0, "stop": 1},
    {"done": -1, "total": 8, "first": 0, "stop": 1},
    {"done": 0, "total": 8, "first": -1, "stop": 1},
    {"done": 0, "total": 8, "first": 0, "stop": 9},
    {"done": 0, "total": 8, "first": 5, "stop": 5},
    {"done": 0, "total": 8, "first": 5, "stop": 4},
]


@pytest.mark.parametrize("lie", [{}, *LIES], ids=str)
def test_what_was_not_told_or_cannot_be_is_not_said(lie: dict[str, int]) -> None:
    error = RuntimeFailed("it crashed")

    found = fail(error, PROMPTS, **lie)

    assert found is error
    assert str(found) == "it crashed"
    assert found.details == {}


# --- real runtimes, killed ------------------------------------------------------------------------

MORTAL = """
import os, signal
from qgate import runtimes

class Planted(type(runtimes.make({name!r}))):
    packs = 0

    def answer(self, prompts, batch_size, progress):
        def tell(what, done, total, at=None):
            progress(what, done, total, at)
            if at and at[0] == batch_size:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(prompts, batch_size, tell)

    def logits_of_spans(self, spans):
        self.packs += 1
        if self.packs == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().logits_of_spans(spans)
"""
"""Ends with its second group of prompts, and with its second pack of sequences."""
KILLED = "runtime crashed: SIGKILL in {} (out of memory?)"


@pytest.fixture(params=["llama_cpp", "transformers"])
def mortal(request: pytest.FixtureRequest, planted: Callable[[str], str]) -> Iterator[Host]:
    """A real runtime in a child, its model loaded."""
    name: str = request.param
    if name == "llama_cpp":
        stories: Path = request.getfixturevalue("stories")
        path = stories / "stories260K-f16.gguf"
    else:
        pytest.importorskip("transformers", reason="needs the Hugging Face runtime")
        path = model_directory()
    with Host(HostSettings(runtime=planted(MORTAL.format(name=name)))) as host:
        load(host, path)
        yield host


def test_a_runtime_that_is_killed_while_it_answers_was_asked_these(mortal: Host) -> None:
    prompts = tuple(
        Prompt(ids=np.array([1, 5 + number], dtype=np.int32), max_tokens=20, name=f"item {number}")
        for number in range(10)
    )
    work = Work(batches=(Batch(prompts=prompts, batch_size=4),))

    with pytest.raises(RuntimeFailed) as caught:
        perform(work, mortal, ())

    assert str(caught.value).startswith(KILLED.format("answer"))
    assert str(caught.value).endswith(
        " (asked at the time: item 4, item 5, item 6 and 1 more, after 4 of 10 prompts)"
    )
    assert caught.value.details["asked_when_failed"] == ["item 4", "item 5", "item 6", "item 7"]


def test_a_runtime_that_is_killed_while_it_scores_was_asked_these(mortal: Host) -> None:
    ids = np.random.default_rng(0).integers(3, 200, (150, 40)).astype(np.int32)
    spans = tuple(Span(ids=one, first=0, name=f"item {n // 2}") for n, one in enumerate(ids))

    with pytest.raises(RuntimeFailed) as caught:
        perform(Work(spans=spans), mortal, ())

    found = caught.value.details
    assert str(caught.value).startswith(KILLED.format("score_spans"))
    assert found["total"] == len(spans)
    assert 0 < found["done"] < len(spans)
    assert found["asked_when_failed"][0] == f"item {found['done'] // 2}"
    assert 0 < len(found["asked_when_failed"]) <= 33
