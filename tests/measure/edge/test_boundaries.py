"""Nothing before an answer and no room after it: what the original does is the standard."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError
from qgate.measure.edge.boundaries import Boundaries, BoundaryFindings
from qgate.measure.work import NO_END, Outcome, Pair, Speaker, Work, perform
from tests.measure.outcomes import make_answers, make_outcome, pair

if TYPE_CHECKING:
    from qgate.runtimes.host import Host

Speak = Callable[[int], Speaker]
PROBE = Boundaries(fillers=("Anna went to the park.", "So Ida went to bed."), most_tokens=4096)
TALK = list(range(65, 97))
LOOP = [65, 66] * 16


@pytest.fixture(scope="module")
def work(speak: Speak) -> Work:
    return PROBE.work(speak(256))


def side(
    from_nothing: Sequence[int] = TALK, nats: float = 2.0, at_limit: Sequence[int] = TALK[:16]
) -> Outcome:
    answers = make_answers(ids=[from_nothing, at_limit], ends=[NO_END, NO_END])
    return make_outcome(answers, nll=[[nats] * 15])


def read(work: Work, artifact: Outcome, reference: Outcome) -> BoundaryFindings:
    return PROBE.read(pair(artifact, reference, work))


# --- from nothing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("artifact", "reference", "holds", "line"),
    [
        (TALK, TALK, True, "it says 32 tokens, the original 32"),
        (TALK[:3], TALK, True, "it says 3 tokens, the original 32"),
        (LOOP, LOOP, True, "it says 32 tokens, the original 32"),
        (TALK, LOOP, True, "it says 32 tokens, the original 32"),
        ([], [], True, "it says 0 tokens, the original 0"),
        (TALK, [], True, "it says 32 tokens, the original 0"),
        (LOOP, TALK, False, "the answer is a loop; the original's is not"),
        (LOOP, [], False, "the answer is a loop; the original's is not"),
        ([], TALK, False, "there is no answer; the original's has 32 tokens"),
    ],
)
def test_from_nothing_comes_an_answer_where_the_originals_does(
    work: Work, artifact: list[int], reference: list[int], holds: bool, line: str
) -> None:
    found = read(work, side(artifact), side(reference)).finding("edge.empty_prompt")

    assert (found.check, found.holds) == ("edge.empty_prompt", holds)
    assert found.message == f"edge.empty_prompt: from nothing {line}"
    assert json.loads(json.dumps(found.details)) == found.details
    assert found.details["artifact"] == bytes(artifact).decode()


# --- at the limit ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nats", "holds"),
    [(2.0, True), (0.0, True), (4.99, True), (5.01, False), (80.0, False), (math.nan, False)],
)
def test_a_full_context_is_read_to_its_last_token(work: Work, nats: float, holds: bool) -> None:
    found = read(work, side(nats=nats), side()).finding("edge.context_limit")

    assert (found.check, found.holds) == ("edge.context_limit", holds)
    assert found.message == (
        f"edge.context_limit: the last 16 of 256 tokens cost {nats:.3g} nats each, the original 2"
        + ("" if holds else "; expected at most 3 more")
    )


def test_details_of_a_full_context_are_json(work: Work) -> None:
    details = read(work, side(at_limit=TALK[:7]), side()).finding("edge.context_limit").details

    assert json.loads(json.dumps(details)) == details
    assert (details["context_tokens"], details["answer_tokens"]) == (256, 7)
    assert (details["nll_nats"], details["reference_nll_nats"]) == (2.0, 2.0)


# --- what is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [33, 64, 256, 4096])
def test_the_context_is_filled_to_its_last_token_and_not_beyond(speak: Speak, context: int) -> None:
    work = PROBE.work(speak(context))
    [span], [batch] = work.spans, work.batches
    nothing, full = batch.prompts

    assert len(span.ids) == context
    assert len(span.ids) - 1 - span.first == 15
    assert nothing.ids.tolist() == [1]
    assert full.ids.tolist() == span.ids[:-16].tolist()
    assert len(full.ids) + full.max_tokens == context
    assert len(nothing.ids) + nothing.max_tokens <= context
    assert batch.side_by_side == 1
    assert (
        bytes(span.ids[1:].tolist())
        .decode()
        .startswith("Anna went to the park.\nSo Ida"[: context - 1])
    )


def test_no_more_than_asked_for_is_filled(speak: Speak) -> None:
    probe = Boundaries(fillers=PROBE.fillers, most_tokens=64)

    assert probe.work(speak(4096)).digest() == PROBE.work(speak(64)).digest()


@pytest.mark.parametrize("context", [0, 16, 32])
def test_a_context_that_is_too_short_is_refused(speak: Speak, context: int) -> None:
    with pytest.raises(MeasurementError) as caught:
        PROBE.work(speak(context))

    assert str(caught.value) == (
        f"edge.context_limit: got a context of {context} tokens; expected more than 32"
    )


@pytest.mark.parametrize("check", Boundaries.checks)
def test_a_model_beside_itself_holds(work: Work, bytes_child: Host, check: str) -> None:
    one, other = (perform(work, bytes_child, (2,)) for _ in range(2))

    assert PROBE.read(Pair(work=work, reference=one, artifact=other)).finding(check).holds
