"""Next to nothing before an answer: many beginnings, and the reference is the standard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.edge.boundaries import BEGINNINGS, Boundaries
from qgate.runtimes.messages import NO_END
from qgate.runtimes.requests import Outcome, Pair, TokenizerClient, Work, perform
from tests.support.outcomes import make_answers, make_outcome, pair

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Speak = Callable[[int], TokenizerClient]
ROW = "edge.empty_prompt"
PROBE = Boundaries()
TALK = list(range(65, 97))
LOOP = [65, 66] * 16


@pytest.fixture(scope="module")
def work(speak: Speak) -> Work:
    return PROBE.work(speak(256))


def side(*bad: Sequence[int]) -> Outcome:
    """The first answers are these, the others talk."""
    ids = [*bad, *[TALK] * (PROBE.size - len(bad))]
    return make_outcome(make_answers(ids=ids, ends=[NO_END] * len(ids)))


@pytest.mark.parametrize("bad", [LOOP, []])
def test_an_answer_that_loops_or_is_none_counts_against_the_artifact(
    work: Work, bad: list[int]
) -> None:
    found = PROBE.read(pair(side(*[bad] * 12), side(), work))

    assert found.is_lost.sum() == 12
    estimate = found.estimate(ROW, 0.95, {})
    assert estimate.value == pytest.approx(12 / PROBE.size)
    assert estimate.p_value == pytest.approx(2.0**-12)


def test_one_answer_is_no_verdict(work: Work) -> None:
    estimate = PROBE.read(pair(side(LOOP), side(), work)).estimate(ROW, 0.95, {})

    assert estimate.p_value == 0.5


def test_what_the_reference_does_too_is_no_damage(work: Work) -> None:
    estimate = PROBE.read(pair(side(LOOP, []), side(LOOP, LOOP), work)).estimate(ROW, 0.95, {})

    assert (estimate.value, estimate.p_value) == (0.0, 1.0)


def test_a_reference_that_always_loops_has_nothing_to_lose(work: Work) -> None:
    loops = side(*[LOOP] * PROBE.size)

    with pytest.raises(NotApplicable, match=f"got {PROBE.size} of {PROBE.size} answers that do"):
        PROBE.read(pair(side(), loops, work))


def test_beginnings_are_many_different_and_short(work: Work) -> None:
    [batch] = work.batches

    assert len(BEGINNINGS) == len(set(BEGINNINGS)) >= 48
    assert [prompt.ids.tolist() for prompt in batch.prompts[:2]] == [[1], [1, 10]]
    assert {prompt.max_tokens for prompt in batch.prompts} == {32}
    assert work.spans == ()


def test_a_part_has_those_beginnings(speak: Speak, work: Work) -> None:
    part = PROBE.take([3, 0])

    assert part.size == 2
    asked = part.work(speak(256)).batches[0].prompts
    whole = work.batches[0].prompts
    assert [one.ids.tolist() for one in asked] == [whole[at].ids.tolist() for at in (3, 0)]


@pytest.mark.parametrize("context", [0, 16, 32])
def test_a_context_that_is_too_short_is_refused(speak: Speak, context: int) -> None:
    with pytest.raises(MeasurementError, match=f"got a context of {context} tokens"):
        PROBE.work(speak(context))


def test_a_toy_that_always_loops_is_left_alone(work: Work, bytes_child: Host) -> None:
    outcome = perform(work, bytes_child, (2,))

    with pytest.raises(NotApplicable, match="the reference itself says nothing or loops"):
        PROBE.read(Pair(work=work, reference=outcome, artifact=outcome))
