"""The generated corpus: repeatable, and held-out questions are really held out."""

from __future__ import annotations

import json
import random
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from qgate.demo.corpus import languages
from qgate.demo.corpus.arithmetic import draw
from qgate.demo.corpus.document import Document, join
from qgate.demo.corpus.items import TASKS, make_items, write_jsonl
from qgate.demo.corpus.mixture import SHARES, documents
from qgate.demo.corpus.vocabulary import LANGUAGES

if TYPE_CHECKING:
    from pathlib import Path

CHOICES = {"classification", "next_sentence"}


def roughly(text: str) -> int:
    """Stand in for the tokenizer where only rough lengths matter."""
    return len(text) // 3


def texts(seed: int, count: int, split: str = "train") -> list[str]:
    return [document.text for document in islice(documents(seed, split, roughly), count)]


def test_the_same_seed_gives_the_same_text() -> None:
    assert texts(3, 200) == texts(3, 200)
    assert texts(3, 200) != texts(4, 200)


def test_every_kind_gets_its_share_of_the_text() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert languages.WEIGHTS.keys() == LANGUAGES.keys()


def test_items_are_repeatable_and_all_different() -> None:
    for task in TASKS:
        items = make_items(task, 40, roughly)
        assert items == make_items(task, 40, roughly)
        assert len({(item.prompt, item.answer) for item in items}) == 40


@pytest.mark.parametrize("task", ["arithmetic", "code", "classification", "language_hi"])
def test_there_are_enough_items(task: str) -> None:
    assert len(make_items(task, 200, roughly)) == 200


def test_items_are_well_formed() -> None:
    for task in TASKS:
        for item in make_items(task, 20, roughly):
            assert item.task == task
            assert not item.prompt[-1].isspace()
            assert item.answer[0] in " \n"
            assert item.answer[1:] == item.answer.strip()
            assert bool(item.choices) == (task in CHOICES or task.startswith("language_"))
            if item.choices:
                assert item.choices.count(item.answer) == 1
                assert len(set(item.choices)) == len(item.choices) >= 2


def test_held_out_questions_never_occur_in_the_training_text() -> None:
    training = "\n".join(texts(1, 6_000))
    found = {
        task: sum(item.prompt + item.answer in training for item in make_items(task, 40, roughly))
        for task in TASKS
    }
    assert not any(found.values()), found


def test_held_out_operands_never_occur_in_training() -> None:
    rng = random.Random(0)
    trained = {draw(rng, "train")[:3] for _ in range(30_000)}
    held_out = {draw(rng, "heldout")[:3] for _ in range(3_000)}
    assert len(trained) > 10_000
    assert not trained & held_out


def test_every_step_of_a_sum_is_right() -> None:
    for item in make_items("arithmetic", 300, roughly):
        written = item.answer if "?" in item.prompt else item.prompt + item.answer
        values = {eval(step) for step in written.split(" = ")}
        assert len(values) == 1, item


def test_values_of_expressions_are_right() -> None:
    for item in make_items("code", 300, roughly):
        assert repr(eval(item.prompt.removeprefix(">>> "))) == item.answer.strip()


def test_recalled_numbers_were_noted_once() -> None:
    for item in make_items("recall_far", 20, roughly):
        asked = item.prompt.rsplit("Recall: ", 1)[1]
        assert item.prompt.count(f"Note: {asked}") == 1
        assert f"Note: {asked}{item.answer}." in item.prompt


def test_language_answers_are_in_the_story_and_no_other_choice_is() -> None:
    for code in languages.LANGUAGES:
        for item in make_items(f"language_{code}", 20, roughly):
            assert item.answer.strip() in item.prompt
            assert sum(choice.strip() in item.prompt for choice in item.choices) == 1
            assert len(item.choices) == 4


def test_documents_keep_their_text_when_joined() -> None:
    parts = [Document(("a", "b")), Document(("", "c", "d")), Document(("e",))]
    joined = join(parts, "\n")
    assert joined.text == "\n".join(part.text for part in parts)
    assert joined.pieces == ("a", "b", "\n", "c", "d\ne")


def test_items_are_written_a_line_each(tmp_path: Path) -> None:
    target = tmp_path / "items.jsonl"
    items = make_items("classification", 5, roughly)
    write_jsonl(items, target)
    rows = [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]
    assert [row["answer"] for row in rows] == [item.answer for item in items]
    assert len({row["id"] for row in rows}) == 5
    assert set(rows[0]) == {"id", "task", "prompt", "choices", "answer"}
