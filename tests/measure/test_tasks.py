"""A task counts every item once, by rules that others use, and only where the original knows it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError, NotApplicable
from qgate.measure.grading import Grading
from qgate.measure.items import ItemFile, read_items
from qgate.measure.tasks import Task
from qgate.measure.work import NO_END, SIDE_BY_SIDE, Outcome, Pair, perform
from tests.measure.outcomes import make_answers, make_outcome, pair

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.measure.paired_answers import PairedAnswers
    from qgate.measure.work import Speaker
    from qgate.runtimes.host import Host

Write = Callable[[Sequence[dict[str, Any]]], ItemFile]
Speak = Callable[[int], "Speaker"]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write(rows) -> a file of items, read."""

    def make(rows: Sequence[dict[str, Any]]) -> ItemFile:
        path = tmp_path / "items.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return read_items(path, "items.jsonl")

    return make


def sums(count: int) -> list[dict[str, Any]]:
    return [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(count)]


def choices(count: int, answer: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"Question {number}?",
            "choices": [" yes", " no", " neither one", " nobody knows it"],
            "answer": answer,
        }
        for number in range(count)
    ]


# --- what is asked --------------------------------------------------------------------------------


def text_of(ids: np.ndarray) -> str:
    return bytes(ids.tolist()).decode()


def test_every_choice_is_scored_behind_its_prompt(write: Write, speak: Speak) -> None:
    file = write(choices(3))

    work = Task(check="accuracy.x", file=file).work(speak(256))

    asked = [(item.prompt, choice) for item in file.items for choice in item.choices]
    assert work.batches == ()
    assert len(work.spans) == len(asked) == 12
    for span, (prompt, choice) in zip(work.spans, asked, strict=True):
        assert text_of(span.ids) == f"\x01{prompt}{choice}"
        assert text_of(span.ids[span.first + 1 :]) == choice


@pytest.mark.parametrize(("rows", "each"), [(choices(3), 4), (sums(3), 1)])
def test_what_is_asked_is_called_by_its_item(
    write: Write, speak: Speak, rows: list[dict[str, Any]], each: int
) -> None:
    file = write([{**row, "id": f"q{number}"} for number, row in enumerate(rows)])

    work = Task(check="accuracy.x", file=file).work(speak(256))

    pieces = [*work.spans, *(prompt for batch in work.batches for prompt in batch.prompts)]
    assert [one.name for one in pieces] == [f"item q{n}" for n in range(3) for _ in range(each)]


def test_generated_answers_have_room_beyond_the_expected_one(write: Write, speak: Speak) -> None:
    rows = [*sums(3), {"prompt": "Spell it:", "answer": " a b c d e"}]
    file = write(rows)

    [batch] = Task(check="accuracy.x", file=file).work(speak(512)).batches

    assert batch.side_by_side == SIDE_BY_SIDE
    assert [text_of(prompt.ids) for prompt in batch.prompts] == [
        f"\x01{row['prompt']}" for row in rows
    ]
    assert [prompt.max_tokens for prompt in batch.prompts] == [10, 10, 10, 18]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"grading": Grading(metric="numeric")}, 256),
        ({"max_tokens": 5}, 5),
        ({"grading": Grading(metric="numeric"), "max_tokens": 5}, 5),
    ],
)
def test_the_room_is_that_of_the_metric_or_what_the_user_says(
    write: Write, speak: Speak, changes: dict[str, Any], wanted: int
) -> None:
    task = Task(check="accuracy.x", file=write(sums(2)), **changes)

    [batch] = task.work(speak(512)).batches

    assert [prompt.max_tokens for prompt in batch.prompts] == [wanted] * 2


def test_an_item_may_fill_the_context_and_not_exceed_it(write: Write, speak: Speak) -> None:
    # with the token that begins it: 12 and 16 bytes of the longest choice
    chosen = Task(check="accuracy.x", file=write(choices(3)))
    chosen.work(speak(1 + 11 + 16))
    with pytest.raises(MeasurementError) as caught:
        chosen.work(speak(27))
    assert str(caught.value) == (
        "accuracy.x: item 1 of items.jsonl does not fit the context:"
        " got 28 tokens; expected at most 27"
    )


def test_a_generated_answer_has_to_fit_too(write: Write, speak: Speak) -> None:
    generated = Task(check="accuracy.x", file=write([{"id": "q", "prompt": "2=", "answer": " 2"}]))

    generated.work(speak(1 + 2 + 10))
    with pytest.raises(MeasurementError) as caught:
        generated.work(speak(12))

    assert str(caught.value) == (
        "accuracy.x: item q of items.jsonl does not fit the context:"
        " got 13 tokens; expected at most 12"
    )


# --- choices --------------------------------------------------------------------------------------

FOUR = 4
"""Choices of each item."""


def chosen(file: ItemFile, *preferred: int, by: float = 1.0) -> Outcome:
    """One side that prefers the given choice of each item, by so many nats."""
    nll = []
    for place in preferred:
        totals = [20.0] * FOUR
        totals[place] -= by
        nll += [[total / 2, total / 2] for total in totals]
    assert len(nll) == FOUR * len(file.items)
    return make_outcome(nll=nll)


def read(task: Task, artifact: Outcome, reference: Outcome) -> PairedAnswers:
    return task.read(pair(artifact, reference))


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


def test_numeric_answers_are_compared_by_their_last_number(write: Write) -> None:
    file = write(sums(4))
    reference = make_outcome(make_answers(" 1", " 2", " 3", " 4"))
    artifact = make_outcome(make_answers("0 and 1 make 1.0.", " 2, so 7", "none", "3 + 1 = 4"))

    found = read(
        Task(check="accuracy.x", file=file, grading=Grading(metric="numeric")), artifact, reference
    )

    assert found.artifact.tolist() == [True, False, False, True]


def test_lost_generated_answers_are_shown_in_their_order(write: Write) -> None:
    file = write(sums(20))
    right = [f" {number + 1}" for number in range(20)]
    wrong = [text if number in (0, 3) else " 0" for number, text in enumerate(right)]

    found = read(
        Task(check="edge.math", file=file),
        make_outcome(make_answers(*wrong)),
        make_outcome(make_answers(*right)),
    )

    worst = found.details("edge.math")["worst"]
    assert [one["expected"] for one in worst] == [" 2", " 3", " 5", " 6", " 7"]
    assert {one["artifact"] for one in worst} == {" 0"}


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


# --- a task that the original does not know -------------------------------------------------------


def guess(file: ItemFile, right: int) -> Outcome:
    """A side that has the first so many items right; the answer is the first choice."""
    return chosen(file, *[0] * right, *[1] * (len(file.items) - right))


@pytest.mark.parametrize(("is_shipped", "kind"), [(True, NotApplicable), (False, MeasurementError)])
def test_a_task_that_the_original_guesses_at_says_nothing(
    write: Write, is_shipped: bool, kind: type[Exception]
) -> None:
    file = write(choices(100))
    task = Task(check="accuracy.x", file=file, is_shipped=is_shipped)

    with pytest.raises(MeasurementError) as caught:
        read(task, guess(file, 100), guess(file, 34))

    assert type(caught.value) is kind
    assert str(caught.value) == (
        "accuracy.x: the original itself does not know items.jsonl: got 34% right;"
        " expected at least 35%. Name tasks that the model is used for, and switch this one off"
    )
    assert read(task, guess(file, 0), guess(file, 35)).reference.sum() == 35


def test_chance_is_that_of_each_items_choices(write: Write) -> None:
    two = [{"prompt": f"{number}?", "choices": [" a", " b"], "answer": 0} for number in range(50)]
    file = write([*two, *choices(50)])  # (1/2 + 1/4) / 2 = 37.5 % by chance

    def side(right: int) -> Outcome:
        flags = [number < right for number in range(100)]
        nll = [
            [0.0] if place == (0 if flag else 1) else [9.0]
            for flag, item in zip(flags, file.items, strict=True)
            for place in range(len(item.choices))
        ]
        return make_outcome(nll=nll)

    task = Task(check="accuracy.x", file=file)

    with pytest.raises(MeasurementError, match="got 47% right; expected at least 48%"):
        read(task, side(100), side(47))
    assert read(task, side(100), side(48)).reference.sum() == 48


@pytest.mark.parametrize("right", [0, 9])
def test_generated_answers_are_not_right_by_chance(write: Write, right: int) -> None:
    file = write(sums(100))
    texts = [item.answer if at < right else " no" for at, item in enumerate(file.items)]
    reference = make_outcome(make_answers(*texts))

    with pytest.raises(MeasurementError, match=f"got {right}% right; expected at least 10%"):
        read(Task(check="accuracy.x", file=file), reference, reference)


def test_a_bad_artifact_is_no_reason_to_skip(write: Write) -> None:
    file = write(choices(100))
    task = Task(check="accuracy.x", file=file, is_shipped=True)

    found = read(task, guess(file, 0), guess(file, 90)).estimate("accuracy.x", 0.95, {})

    assert found.value == -0.9
    assert found.p_value is not None
    assert found.p_value < 1e-20


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


def test_the_same_items_are_the_same_work(write: Write, speak: Speak) -> None:
    first, again = (
        Task(check="accuracy.x", file=write(choices(5))).work(speak(256)) for _ in range(2)
    )
    other = Task(check="accuracy.x", file=write(choices(6))).work(speak(256))

    assert first.digest() == again.digest() != other.digest()
