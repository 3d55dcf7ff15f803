"""Both sides get the same work, and what comes back is all of it or an error."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.errors import MeasurementError, RuntimeFailed
from qgate.runtimes import requests as works
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import NO_END
from qgate.runtimes.requests import Outcome, TokenizerClient, Work, perform
from tests.conftest import Toy, write_toy
from tests.measure.conftest import bytes_child, speak
from tests.runtimes.small_requests import SPANS, WORK
from tests.support.children import load
from tests.support.outcomes import make_answers, make_outcome, written
from tests.support.references import Recording

__all__ = ["bytes_child", "speak"]

if TYPE_CHECKING:
    from collections.abc import Iterator

Toys = Callable[..., Path]


# --- what is asked of a child ---------------------------------------------------------------------


@pytest.fixture
def toy(toys: Toys) -> Path:
    return toys() / "original.gguf"


@pytest.fixture
def verbs() -> list[str]:
    return []


@pytest.fixture
def child(toy: Path, verbs: list[str]) -> Iterator[Host]:
    with Recording(HostSettings(runtime="fake", stall_s=30.0), verbs) as host:
        load(host, toy)
        yield host


def test_a_child_does_all_of_it_and_in_order(child: Host, toy: Path) -> None:
    import gguf

    embedding, output = (
        np.asarray(tensor.data, dtype=np.float64) for tensor in gguf.GGUFReader(toy).tensors
    )
    logits = embedding @ output.T

    found = perform(WORK, child, (2,))

    for span, nll, is_top in zip(SPANS, found.nll_nats, found.is_top, strict=True):
        before, after = span.ids[span.first : -1], span.ids[span.first + 1 :]
        wanted = -log_softmax(logits[before], axis=1)[np.arange(len(after)), after]
        assert nll == pytest.approx(wanted, abs=1e-5)
        assert is_top.tolist() == (logits[before].argmax(axis=1) == after).tolist()
    for batch, answers in zip(WORK.batches, found.answers, strict=True):
        for number, prompt in enumerate(batch.prompts):
            last = int(prompt.ids[-1])
            said: list[int] = []
            while len(said) < prompt.max_tokens and (last := int(logits[last].argmax())) != 2:
                said.append(last)
            assert answers.ids[number].tolist() == said
            assert answers.ends[number] == (NO_END if len(said) == prompt.max_tokens else 2)
            assert answers.texts[number] == bytes(said).decode("utf-8", "replace")
            margins = answers.margins_nats[number]
            assert len(margins) == len(said) + (answers.ends[number] != NO_END)
            ordered = np.sort(logits[[int(prompt.ids[-1]), *said][: len(margins)]], axis=1)
            assert margins == pytest.approx(ordered[:, -1] - ordered[:, -2], abs=1e-5)
    assert found.end_tokens == (2,)


def test_nothing_is_asked_twice_and_nothing_in_vain(child: Host, verbs: list[str]) -> None:
    del verbs[:]

    perform(WORK, child, (2,))
    perform(dataclasses.replace(WORK, spans=()), child, (2,))
    perform(dataclasses.replace(WORK, batches=()), child, (2,))
    nothing = perform(Work(), child, (2,))

    assert verbs == ["score_spans", "answer", "answer", "answer", "answer", "score_spans"]
    assert nothing == Outcome(nll_nats=(), is_top=(), answers=(), end_tokens=(2,))


class Losing(Host):
    """A child of which one thing gets lost on the way."""

    def __init__(self, what: tuple[str, str]) -> None:
        self.what = what
        """The verb, and a part of its answer."""
        super().__init__(HostSettings(runtime="fake", stall_s=30.0))

    def call(self, verb: str, request: object) -> Any:
        found = super().call(verb, request)
        wanted, part = self.what
        if verb != wanted:
            return found
        return {**found, part: found[part][:-1]} if part else found[:-1]


LOSSES = [
    (
        ("score_spans", "nll_nats"),
        "lost samples: got 3 scored tokens in 2 sequences; expected 49 in 3",
    ),
    (
        ("score_spans", "is_top"),
        "lost samples: got 3 scored tokens in 2 sequences; expected 49 in 3",
    ),
    (("answer", "ids"), "lost answers: got 2; expected 3, one a prompt"),
    (("answer", "texts"), "lost answers: got 3; expected 3, one a prompt"),
    (("answer", "ends"), "lost answers: got 3; expected 3, one a prompt"),
    (("answer", "margins_nats"), "lost tokens: got the margins of 9; expected 18"),
]


@pytest.mark.parametrize(("lost", "line"), LOSSES, ids=[".".join(lost) for lost, _ in LOSSES])
def test_what_was_not_answered_is_refused(toy: Path, lost: tuple[str, str], line: str) -> None:
    with Losing(lost) as host:
        load(host, toy)
        with pytest.raises(MeasurementError) as caught:
            perform(WORK, host, (2,))

    assert str(caught.value) == line


class Shifting(Host):
    """A child that books a token of one sequence to the next."""

    def call(self, verb: str, request: object) -> Any:
        found = super().call(verb, request)
        if verb != "score_spans":
            return found
        first, second, third = found["nll_nats"]
        moved = [first[:-1], np.append(first[-1:], second), third]
        return {**found, "nll_nats": moved}


def test_a_token_of_another_sequence_is_refused(toy: Path) -> None:
    with Shifting(HostSettings(runtime="fake", stall_s=30.0)) as host:
        load(host, toy)
        with pytest.raises(MeasurementError, match=r"^lost samples: got 49 .* expected 49 in 3$"):
            perform(WORK, host, (2,))


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("nan:score", MeasurementError), ("segfault:score", RuntimeFailed)],
)
@pytest.mark.parametrize("part", ["spans", "batches"])
def test_a_model_that_fails_answers_nothing(
    toys: Toys, fault: str, kind: type[Exception], part: str
) -> None:
    path = write_toy(toys() / "original.gguf", Toy(scheme="F32", fault=fault))
    asked = Work(**{part: getattr(WORK, part)})

    with Host(HostSettings(runtime="fake", stall_s=30.0)) as host:
        load(host, path)
        with pytest.raises(kind):
            perform(asked, host, (2,))


# --- texts to ids ---------------------------------------------------------------------------------


def test_texts_become_ids_in_their_order(speak: Callable[[int], TokenizerClient]) -> None:
    tokenizer = speak(64)

    begun, followed = tokenizer.begin(["ab", "", "c"]), tokenizer.follow(["ab", "", "c"])

    assert [one.tolist() for one in begun] == [[1, 97, 98], [1], [1, 99]]
    assert [one.tolist() for one in followed] == [[97, 98], [], [99]]


def test_a_lost_text_is_refused(toy: Path) -> None:
    with Losing(("encode", "")) as host:
        load(host, toy)
        with pytest.raises(MeasurementError, match=r"^lost texts: got ids of 1; expected 2$"):
            TokenizerClient(host, 64, 1).begin(["a", "b"])


# --- on disk --------------------------------------------------------------------------------------

OUTCOMES = {
    "nothing": make_outcome(),
    "likelihoods": make_outcome(nll=[[0.1, np.pi], [], [3.0]], tops=[[True, False], [], [True]]),
    "answers": make_outcome(
        make_answers("42", "", "世界\u2028 \x00\ud7ff🙂\ufffd"),
        make_answers("a", "b", "c", ends=[NO_END, 5, 2]),
        end_tokens=(2, 5),
    ),
    "a batch of nothing": make_outcome(make_answers(), nll=[[1.0]], end_tokens=()),
}


@pytest.mark.parametrize("outcome", OUTCOMES.values(), ids=OUTCOMES.keys())
def test_what_is_saved_is_what_is_read(tmp_path: Path, outcome: Outcome) -> None:
    facts = json.loads(json.dumps(works.save(outcome, tmp_path)))

    assert written(works.read(tmp_path, facts)) == written(outcome)


def test_what_a_child_answered_survives_the_disk(child: Host, tmp_path: Path) -> None:
    outcome = perform(WORK, child, (2,))

    facts = json.loads(json.dumps(works.save(outcome, tmp_path)))

    assert written(works.read(tmp_path, facts)) == written(outcome)


SIZES = {
    "one value too few": [2, 2],
    "one value too many": [2, 0],
    "a size below zero": [4, -1],
    "nobody": [],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, sizes: list[int]) -> None:
    facts = works.save(make_outcome(nll=[[1.0, 2.0], [3.0]]), tmp_path)
    np.save(tmp_path / "nll.sizes.npy", np.array(sizes, dtype=np.int32))

    with pytest.raises(MeasurementError, match=r"^ragged array: got 3 values; expected -?\d$"):
        works.read(tmp_path, facts)
