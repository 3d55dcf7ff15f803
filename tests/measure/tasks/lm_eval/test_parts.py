"""A part of a task is the task with fewer docs: graded in parts or at once, it is the same."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import MeasurementError, ThresholdsError
from qgate.measure.tasks.graded import Graded
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.requests import Outcome, Pair
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED
from tests.measure.tasks.lm_eval.made_tasks import graded, make
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.measure.tasks.lm_eval.probe import HarnessTask
    from qgate.runtimes.requests import TokenizerClient, Work

    Write = Callable[..., Path]
    Speak = Callable[[int], TokenizerClient]

DOCS = 12


def questions(n_choices: int = 3) -> list[dict[str, Any]]:
    words = [f" {'o' * (3 * number + 1)}" for number in range(n_choices)]
    return [
        {"prompt": f"Which is {number}?", "choices": words, "answer": words[number % n_choices]}
        for number in range(DOCS)
    ]


def sums() -> list[dict[str, Any]]:
    return [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(DOCS)]


def a_side(work: Work) -> Outcome:
    """Hangs on what is asked alone, and so is the same in any order."""
    nll = [[np.random.default_rng(span.ids.astype(int)).random()] for span in work.spans]
    texts = []
    for prompt in (prompt for batch in work.batches for prompt in batch.prompts):
        number = int(bytes(prompt.ids[1:].astype(np.uint8)).split()[0])
        texts.append(f" {number + 1 + number % 2}")
    return make_outcome(*([make_answers(*texts)] if texts else []), nll=nll)


def grade(task: HarnessTask, speak: Speak) -> Graded:
    work = task.work(speak(256))
    return task.grade(work, a_side(work))


@pytest.mark.parametrize(
    ("config", "rows", "metric"),
    [
        (CHOICES, questions(), "acc"),
        (CHOICES, questions(), "acc_norm"),
        (CHOICES, questions(), "acc_mutual_info"),
        (GENERATED, sums(), "exact_match"),
    ],
    ids=["choices", "choices by length", "mutual information", "generated"],
)
def test_grades_of_parts_are_those_of_the_whole(
    write_task: Write,
    speak: Speak,
    config: dict[str, Any],
    rows: list[dict[str, Any]],
    metric: str,
) -> None:
    task = make(write_task("made", config, rows, metric_list=[{"metric": metric}]))
    order = [7, 0, 11, 3, 5, 1, 2, 10, 9, 8, 6, 4]
    whole = grade(task, speak)
    parts = [grade(task.take(order[begin : begin + 4]), speak) for begin in (0, 4, 8)]
    joined = Graded.joined(parts)

    assert 0 < whole.values.sum() < DOCS
    assert joined.values.tolist() == whole.values[order].tolist()
    assert joined.texts == tuple(whole.texts[number] for number in order)
    assert joined.margins_nats.tolist() == whole.margins_nats[order].tolist()
    assert joined.answer_tokens.sum() == whole.answer_tokens.sum()
    assert task.size == DOCS
    assert grade(task, speak).values.tolist() == whole.values.tolist()  # the task is as it was


def test_a_part_tells_of_its_own_docs(write_task: Write, speak: Speak) -> None:
    task = make(write_task("made", CHOICES, questions())).take([5, 2])
    work = task.work(speak(256))
    found = task.read(Pair(work=work, artifact=a_side(work), reference=a_side(work)))
    assert isinstance(found, PairedAnswers)
    assert found.prompts == ("Which is 5?", "Which is 2?")
    assert found.more["asked"] == 2
    assert found.more["available"] == DOCS


def test_docs_on_the_same_text_are_a_group(write_task: Write, speak: Speak) -> None:
    rows = [{**row, "text": f"text {number // 4}"} for number, row in enumerate(questions())]
    directory = write_task("made", CHOICES, rows)
    task = make(directory, group="text")
    work = task.work(speak(256))
    found = task.read(Pair(work=work, artifact=a_side(work), reference=a_side(work)))
    assert found.groups == tuple(row["text"] for row in rows)

    with pytest.raises(ThresholdsError) as caught:
        make(directory, group="txet")
    assert str(caught.value).endswith(
        "doc 1: group: got no field 'txet'; expected one of prompt, choices, answer, text"
    )


@pytest.mark.parametrize("least", [None, 0.5], ids=["nothing said", "half asked for"])
def test_scores_of_a_reference_that_knows_nothing_are_refused(
    write_task: Write, speak: Speak, least: float | None
) -> None:
    task = make(graded(write_task, "f1", metric="f1"))
    task = dataclasses.replace(task, min_reference=least)
    work = task.work(speak(256))
    nothing = make_outcome(make_answers("z", "z", "z"))
    with pytest.raises(MeasurementError) as caught:
        task.read(Pair(work=work, artifact=nothing, reference=nothing))
    wanted = "more than 0" if least is None else "at least 0.5"
    assert str(caught.value).startswith(
        "accuracy.made: the reference itself does not know made: got a mean score of 0; expected"
        f" {wanted}. Name"
    )


BAD_DOCS: dict[str, tuple[dict[str, Any], str]] = {
    "no choice": ({"choices": []}, "got no request; expected at least one"),
    "one choice": ({"choices": [" o"], "answer": " o"}, "choices: got 1; expected at least 2"),
}


@pytest.mark.parametrize("bad", BAD_DOCS)
def test_a_doc_that_asks_nothing_is_refused_and_not_left_out(write_task: Write, bad: str) -> None:
    changed, message = BAD_DOCS[bad]
    rows = questions()
    rows[4] = {**rows[4], **changed}
    target = "{{choices.index(answer) if answer in choices else 0}}"
    directory = write_task("made", CHOICES, rows, doc_to_target=target)
    with pytest.raises(ThresholdsError) as caught:
        make(directory)
    assert f"doc 5: {message}" in str(caught.value) or f"doc 5: it asks nothing: {message}" in str(
        caught.value
    )


def test_wrong_where_less_is_better_is_a_loss_too(write_task: Write, speak: Speak) -> None:
    """A row's limit is on a drop: what is counted has to be what is good."""
    task = make(graded(write_task, "wrong", metric="wrong", higher_is_better=False))
    work = task.work(speak(256))
    found = task.read(
        Pair(
            work=work,
            artifact=make_outcome(make_answers("a b c 0", "?", "")),
            reference=make_outcome(make_answers("a b c 0", "a b c 1", "a b c 2")),
        )
    )
    assert isinstance(found, PairedAnswers)
    assert found.estimate("accuracy.made", 0.95, {}).value == pytest.approx(-2 / 3)
    assert found.is_lost.tolist() == [False, True, True]
