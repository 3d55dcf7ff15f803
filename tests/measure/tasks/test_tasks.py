"""A task counts every item once, by rules that others use."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.tasks.task import Task
from qgate.runtimes.messages import NO_END
from qgate.runtimes.requests import Outcome, Pair, perform
from tests.measure.tasks.task_items import FOUR, Speak, Write, choices, chosen, read, sums
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.measure.tasks.items import ItemFile
    from qgate.runtimes.host import Host


# --- choices --------------------------------------------------------------------------------------


def test_the_choice_with_the_largest_total_likelihood_is_taken(write: Write) -> None:
    file = write(choices(1, answer=2))
    # per token the second is likelier, and the first is first
    outcome = make_outcome(nll=[[3.0, 3.1], [2.1, 2.0, 2.0], [5.9], [9.0]])

    found = read(Task(check="accuracy.x", file=file), outcome, outcome)

    assert found.artifact_texts == (" neither one",)
    assert found.artifact.tolist() == found.reference.tolist() == [True]


@pytest.mark.parametrize(("answer", "is_right"), [(1, True), (3, False)])
def test_the_first_of_equals_is_taken(write: Write, answer: int, is_right: bool) -> None:
    file = write([*choices(1, answer), *choices(3, answer)[1:]])
    outcome = make_outcome(nll=[[9.0], [1.0, 1.0], [3.0], [2.0]] + [[9.0], [2.0], [3.0], [2.0]] * 2)
    knows_it = chosen(file, *[answer] * 3)

    found = read(Task(check="accuracy.x", file=file), outcome, knows_it)

    assert found.artifact_texts == (" no",) * 3
    assert found.artifact.tolist() == [is_right] * 3


def test_answers_are_compared_with_the_items_own(write: Write) -> None:
    rows = [{**row, "answer": number % FOUR} for number, row in enumerate(choices(8))]
    file = write(rows)
    reference = chosen(file, *[number % FOUR for number in range(8)])
    artifact = chosen(file, *[0] * 8)

    found = read(Task(check="accuracy.x", file=file), artifact, reference)

    assert found.reference.all()
    assert found.artifact.tolist() == [number % FOUR == 0 for number in range(8)]
    assert found.expected == tuple(item.answer for item in file.items)
    assert found.prompts == tuple(item.prompt for item in file.items)


def test_what_was_lost_most_surely_is_shown_first(write: Write) -> None:
    file = write(choices(20))
    reference = chosen(file, *[0] * 20)
    sure = chosen(file, *[3] * 6, *[0] * 14)
    nll = list(sure.nll_nats)
    for number, by in enumerate([2.0, 9.0, 0.5, 4.0, 9.0, 1.0]):
        nll[FOUR * number + 3] = np.array([20.0 - by])
    artifact = dataclasses.replace(sure, nll_nats=tuple(nll))

    found = read(Task(check="accuracy.x", file=file), artifact, reference)
    details = found.details("accuracy.x")

    assert (details["lost"], details["gained"]) == (6, 0)
    assert [one["prompt"] for one in details["worst"]] == [
        f"Question {number}?" for number in (1, 4, 3, 0, 5)
    ]
    assert details["worst"][0] == {
        "prompt": "Question 1?",
        "expected": " yes",
        "reference": " yes",
        "artifact": " nobody knows it",
    }


# --- generated answers ----------------------------------------------------------------------------


def test_generated_answers_are_compared_by_their_first_line(write: Write) -> None:
    file = write(sums(4))
    reference = make_outcome(make_answers(" 1", " 2", " 3", " 4"))
    artifact = make_outcome(make_answers(" 1\n2 + 2 =", "2", " 3 and so on", " 5"))

    found = read(Task(check="accuracy.x", file=file), artifact, reference)

    assert found.reference.tolist() == [True] * 4
    assert found.artifact.tolist() == [True, True, False, False]
    assert found.artifact_texts == artifact.answers[0].texts


def test_an_answer_that_says_nothing_is_wrong_and_counts(write: Write) -> None:
    file = write(sums(3))
    reference = make_outcome(make_answers(" 1", " 2", " 3"))
    artifact = make_outcome(make_answers("", "", "", ends=[NO_END, 2, 2]))

    found = read(Task(check="accuracy.x", file=file), artifact, reference)

    assert found.artifact.tolist() == [False] * 3
    assert found.estimate("accuracy.x", 0.95, {}).value == -1.0


# --- every item is accounted for ------------------------------------------------------------------


def test_every_item_counts_once(write: Write) -> None:
    file = write(choices(40))
    artifact = chosen(file, *[0] * 30, *[1] * 10)
    reference = chosen(file, *[1] * 5, *[0] * 35)

    found = read(Task(check="accuracy.x", file=file), artifact, reference)
    estimate = found.estimate("accuracy.x", 0.95, {})
    details = found.details("accuracy.x")

    assert estimate.n == 40
    assert estimate.value == pytest.approx((30 - 35) / 40)
    assert (details["lost"], details["gained"]) == (10, 5)
    assert (details["share"], details["reference_share"]) == (30 / 40, 35 / 40)
    assert (details["items"], details["file"]) == (file.digest, "items.jsonl")


@pytest.mark.parametrize("kind", [choices, sums])
def test_a_lost_answer_is_never_left_out(
    write: Write, kind: Callable[[int], list[dict[str, Any]]]
) -> None:
    file = write(kind(6))
    if file.has_choices:
        whole = chosen(file, *[0] * 6)
        short = dataclasses.replace(whole, nll_nats=whole.nll_nats[:-1])
    else:
        texts = [item.answer for item in file.items]
        whole, short = make_outcome(make_answers(*texts)), make_outcome(make_answers(*texts[:-1]))

    task = Task(check="accuracy.x", file=file)

    for artifact, reference in ((short, whole), (whole, short)):
        with pytest.raises((MeasurementError, ValueError, StopIteration)):
            read(task, artifact, reference)


# --- with a child ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [choices, sums])
def test_a_model_beside_itself_loses_nothing(
    write: Write, speak: Speak, bytes_child: Host, kind: Callable[[int], list[dict[str, Any]]]
) -> None:
    file = write(kind(20))
    task = Task(check="accuracy.x", file=file)
    work = task.work(speak(256))
    one, other = (perform(work, bytes_child, (2,)) for _ in range(2))
    answers = said(file, one)
    told = dataclasses.replace(
        task,
        file=dataclasses.replace(
            file,
            items=tuple(
                dataclasses.replace(item, answer=answer)
                for item, answer in zip(file.items, answers, strict=True)
            ),
        ),
    )

    found = told.read(Pair(work=work, reference=one, artifact=other))

    assert found.artifact.all()
    assert found.reference.all()
    assert found.estimate("accuracy.x", 0.95, {}).value == 0.0


def said(file: ItemFile, outcome: Outcome) -> list[str]:
    """What a side answers, worked out without `Task`."""
    if not file.has_choices:
        return [text.strip().splitlines()[0] for text in outcome.answers[0].texts]
    totals = [math.fsum(nll) for nll in outcome.nll_nats]
    best = [
        min(range(FOUR), key=lambda place, at=at: totals[at + place])  # type: ignore[misc]
        for at in range(0, len(totals), FOUR)
    ]
    return [item.choices[place] for item, place in zip(file.items, best, strict=True)]


def test_a_task_of_no_items_is_skipped_and_says_what_to_type(write: Write, speak: Speak) -> None:
    task = Task(check="edge.math", file=write(sums(6))).take([])

    with pytest.raises(NotApplicable, match=r"^edge\.math: quick effort does not ask it\. .*150}$"):
        task.work(speak(64))
