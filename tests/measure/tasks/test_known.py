"""A task that the reference itself does not know says nothing, and is no pass."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import NotApplicable
from qgate.measure.tasks.grading import Grading
from qgate.measure.tasks.task import Task
from qgate.runtimes.requests import Work
from qgate.verdict.vacuous import require_possible
from tests.measure.tasks.task_items import Write, choices, chosen, read, sums
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from qgate.measure.tasks.items import ItemFile
    from qgate.runtimes.requests import Outcome


def guess(file: ItemFile, right: int) -> Outcome:
    """A side that has the first so many items right; the answer is the first choice."""
    return chosen(file, *[0] * right, *[1] * (len(file.items) - right))


def test_a_task_that_the_reference_guesses_at_says_nothing(write: Write) -> None:
    file = write(choices(100))
    task = Task(check="accuracy.x", file=file)

    with pytest.raises(NotApplicable) as caught:
        read(task, guess(file, 100), guess(file, 34))

    assert str(caught.value) == (
        "accuracy.x: the reference itself does not know items.jsonl: got 34% right;"
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

    with pytest.raises(NotApplicable, match="got 47% right; expected at least 48%"):
        read(task, side(100), side(47))
    assert read(task, side(100), side(48)).reference.sum() == 48


@pytest.mark.parametrize("right", [0, 9])
def test_generated_answers_are_not_right_by_chance(write: Write, right: int) -> None:
    file = write(sums(100))
    texts = [item.answer if at < right else " no" for at, item in enumerate(file.items)]
    reference = make_outcome(make_answers(*texts))

    with pytest.raises(NotApplicable, match=f"got {right}% right; expected at least 10%"):
        read(Task(check="accuracy.x", file=file), reference, reference)


def test_a_bad_artifact_is_no_reason_to_skip(write: Write) -> None:
    file = write(choices(100))
    task = Task(check="accuracy.x", file=file)

    found = read(task, guess(file, 0), guess(file, 90)).estimate("accuracy.x", 0.95, {})

    assert found.value == -0.9
    assert found.p_value is not None
    assert found.p_value < 1e-20


# --- what the reference shows before an artifact is asked -----------------------------------------


def scouted(task: Task, right: int) -> Task:
    """The task after the reference had so many items of its scout right."""
    scout = task.scout()
    assert scout is not None
    return task.narrowed(Work(), guess(scout.file, right))


def test_a_quarter_of_the_items_is_asked_first(write: Write) -> None:
    task = Task(check="accuracy.x", file=write(choices(200)))
    scout = task.scout()

    assert scout is not None
    assert scout.size == 50
    assert len({item.id for item in scout.file.items}) == 50
    assert scout.file.items != task.file.items[:50]


def test_a_reference_that_clearly_guesses_is_not_asked_the_rest(write: Write) -> None:
    task = Task(check="accuracy.x", file=write(choices(200)))

    with pytest.raises(NotApplicable) as caught:
        scouted(task, 9)

    assert str(caught.value) == (
        "accuracy.x: the reference itself does not know items.jsonl: got 18% of 50 right;"
        " expected at least 35%. Name tasks that the model is used for, and switch this one off"
    )
    for right in (13, 18, 50):  # 26 % of 50 items may be 35 % of all
        assert scouted(task, right) is task


def test_few_items_and_scores_are_asked_at_once(write: Write) -> None:
    assert Task(check="accuracy.x", file=write(choices(79))).scout() is None
    scores = Task(check="accuracy.x", file=write(sums(100)), grading=Grading(metric="chrf"))
    assert scores.scout() is None


@pytest.mark.parametrize(
    ("right", "n", "is_refused"), [(0, 37, False), (0, 38, True), (5, 50, False)]
)
def test_a_part_refuses_what_is_as_unlikely_as_one_in_fifty(
    right: int, n: int, is_refused: bool
) -> None:
    """0.9 ** 37 is 0.0203, 0.9 ** 38 is 0.0182."""
    flags = np.arange(n) < right
    expected = pytest.raises(NotApplicable) if is_refused else nullcontext()

    with expected:
        require_possible("accuracy.x", "items", flags, 0.0)


@pytest.mark.parametrize("n", [40, 1050, 4000])
def test_how_unlikely_so_few_right_answers_are_is_scipys(n: int) -> None:
    from scipy.stats import binom

    from qgate.verdict.vacuous import _chance_of_at_most

    for found in (0, n // 20, n // 4):
        assert _chance_of_at_most(found, n, 0.3) == pytest.approx(
            float(binom.cdf(found, n, 0.3)), rel=1e-6, abs=1e-300
        )
