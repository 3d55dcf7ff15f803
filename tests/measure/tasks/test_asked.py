"""What a task asks for an item: which ids, by which name, and how much room there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.grading import Grading
from qgate.measure.tasks.task import Task
from qgate.runtimes.messages import BATCH_SIZE
from tests.measure.tasks.task_items import Speak, Write, choices, sums

if TYPE_CHECKING:
    import numpy as np


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

    assert batch.batch_size == BATCH_SIZE
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
