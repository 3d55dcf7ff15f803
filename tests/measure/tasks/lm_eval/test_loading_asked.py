"""How a loaded task is asked: of which docs, by which metric, with which examples before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import LoadedTask, load_task
from qgate.sandbox.chat import Chat
from tests.measure.tasks.lm_eval.conftest import GENERATED
from tests.measure.tasks.lm_eval.documents import gsm8k, message_of, sums, write_lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]


def numbers_of(path: Path, **settings: Any) -> list[int]:
    found = load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=0, **settings))
    assert [item.prompt for item in found.items] == [
        f"Question: What is {item.number} + 1?\nAnswer:" for item in found.items
    ]
    return [item.number for item in found.items]


def test_docs_are_drawn_with_a_seed_and_are_not_the_first(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(200))

    drawn = numbers_of(path, max_samples=20)

    assert len(set(drawn)) == 20
    assert drawn == sorted(drawn)
    assert max(drawn) >= 100
    assert drawn != list(range(20))
    assert numbers_of(path, max_samples=20) == drawn
    assert numbers_of(path, max_samples=200) == numbers_of(path) == list(range(200))


def test_a_doc_is_never_among_its_own_examples(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(6))
    settings = HarnessSettings(name="gsm8k", data=path, num_fewshot=4)

    loaded, again = load_task(settings), load_task(settings)

    for item in loaded.items:
        assert item.prompt.count("Question:") == 5
        assert item.prompt.count(f"What is {item.number} + 1?") == 1
    assert [item.prompt for item in loaded.items] == [item.prompt for item in again.items]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"repeats": 4}, "made: got repeats 4; expected 1: answers are greedy"),
        (
            {"generation_kwargs": {"until": ["."], "do_sample": True, "temperature": 0.7}},
            "made: got do_sample at temperature 0.7; expected greedy answers",
        ),
        ({"unsafe_code": True}, "made: the task runs the code that the model writes: got no code_"),
        (
            {"metric_list": [{"metric": "code_eval", "hf_evaluate": True}]},
            "made: the task runs the code that the model writes: got no code_execution; expected",
        ),
        ({"doc_to_image": "image"}, "made: got a task of pictures or sound; expected one of text"),
        (
            {"metric_list": [{"metric": "bleu"}, {"metric": "exact_match"}]},
            "made: metric: got bleu, one number for all docs together; expected one with a value"
            " for every doc. Set metric to one of exact_match",
        ),
        ({"metric_list": [{"metric": "no_such_one"}]}, "made: "),
    ],
)
def test_what_cannot_be_compared_doc_by_doc_is_refused(
    write_task: Write, changes: dict[str, Any], wanted: str
) -> None:
    directory = write_task("made", GENERATED, sums(3), **changes)

    assert message_of(name="made", include_path=directory).startswith(wanted)


def test_perplexity_has_no_value_for_a_doc(write_task: Write) -> None:
    directory = write_task(
        "made",
        {
            "output_type": "loglikelihood_rolling",
            "doc_to_text": "",
            "doc_to_target": "{{prompt}}",
            "metric_list": [{"metric": "word_perplexity"}],
        },
        sums(3),
    )

    assert message_of(name="made", include_path=directory) == (
        "made: metric: got word_perplexity, one number for all docs together; expected one with a"
        " value for every doc."
    )


@pytest.mark.parametrize(
    ("metric", "wanted"),
    [
        ("exact", "metric: got 'exact'; expected one of exact_match. Did you mean 'exact_match'?"),
        (
            "exact_match,flexible",
            "metric: got the filter 'flexible'; expected one of strict-match, flexible-extract."
            " Did you mean 'flexible-extract'?",
        ),
    ],
)
def test_an_unknown_metric_is_told_its_neighbour(tmp_path: Path, metric: str, wanted: str) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(3))

    line = message_of(name="gsm8k", data=path, num_fewshot=0, metric=metric)

    assert line == f"gsm8k: {wanted}"


def test_a_task_that_allows_no_examples_gets_none(write_task: Write) -> None:
    directory = write_task("made", GENERATED, sums(3), num_fewshot=0)

    assert message_of(name="made", include_path=directory, num_fewshot=2) == (
        "made: num_fewshot: got 2; expected 0: the task allows no others"
    )


def test_prompts_are_chats_where_there_is_a_template(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", gsm8k(3))
    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"

    def load(template: str) -> LoadedTask:
        chat = Chat(template=template)
        return load_task(HarnessSettings(name="gsm8k", data=path, num_fewshot=1, chat=chat))

    for item in load(template).items:
        assert item.prompt.count("<user>") == 2
        assert item.prompt.count("<assistant>") == 1
    with pytest.raises(Exception, match="chat template cannot be applied: got SecurityError"):
        load("{{ ''.__class__.__mro__ }}")
