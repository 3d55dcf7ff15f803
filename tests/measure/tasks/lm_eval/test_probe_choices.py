"""Answers by likelihood: which choice a task's metric takes, and what a report shows of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED
from tests.measure.tasks.lm_eval.made_tasks import QUESTIONS, SUMS, chosen, make, read
from tests.support.outcomes import make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.runtimes.requests import TokenizerClient

    Write = Callable[..., Path]
    Speak = Callable[[int], TokenizerClient]


@pytest.mark.parametrize(
    ("metric", "right", "text"),
    [
        (None, [False, True], " no"),
        ("acc", [False, True], " no"),
        ("acc_norm", [True, True], " certainly"),
    ],
)
def test_a_choice_is_taken_by_its_likelihood_or_by_that_of_its_letters(
    write_task: Write, speak: Speak, metric: str | None, right: list[bool], text: str
) -> None:
    """The second question's answer is likelier by its ten letters than the other by its three."""
    probe = make(write_task("made", CHOICES, QUESTIONS[1:3]), metric=metric)
    side = chosen((-5.0, -6.0), (-1.0, -6.0))

    found = read(probe, speak, side, side)

    assert found.artifact.tolist() == right
    assert found.artifact_texts[0] == text
    assert found.expected == (" certainly", " no")
    assert found.more["chance"] == 0.5


def test_choices_may_be_what_comes_before(write_task: Write, speak: Speak) -> None:
    """As in winogrande: the same ending behind two beginnings."""
    rows = [
        {"choices": [f"{number} cats", f"{number} dogs"], "ending": "bark", "label": number % 2}
        for number in range(2)
    ]
    directory = write_task(
        "made", CHOICES, rows, doc_to_text="{{label}}", doc_to_target="{{ending}}"
    )
    probe = make(directory)
    side = chosen((-2.0, -1.0), (-2.0, -1.0))

    found = read(probe, speak, side, side)

    assert found.artifact.tolist() == [False, True]
    assert found.artifact_texts == ("0 dogs", "1 dogs")
    assert found.expected == ("0 cats", "1 dogs")


def test_mutual_information_asks_twice_and_shows_the_choices(
    write_task: Write, speak: Speak
) -> None:
    directory = write_task(
        "made", CHOICES, QUESTIONS[:1], metric_list=[{"metric": "acc_mutual_info"}]
    )
    probe = make(directory)
    side = make_outcome(nll=[[2.0], [3.0], [0.5], [0.1]])  # with the question, and without it

    found = read(probe, speak, side, side)

    assert found.artifact.tolist() == [True]
    assert found.artifact_texts == (" no",)
    assert found.more["chance"] == 0.5


def test_the_words_that_follow_are_right_where_greedy_decoding_says_them(
    write_task: Write, speak: Speak
) -> None:
    """As in lambada: `acc` is whether every token of the target is the likeliest."""
    directory = write_task(
        "made",
        {**GENERATED, "output_type": "loglikelihood", "generation_kwargs": None},
        SUMS[:2],
        metric_list=[{"metric": "perplexity"}, {"metric": "acc"}],
    )
    side = make_outcome(nll=[[1.0, 2.0], [0.5, 0.5]], tops=[[True, False], [True, True]])

    found = read(make(directory, metric="acc"), speak, side, side)

    assert found.artifact.tolist() == [False, True]
    assert found.artifact_texts == ("not said (-3.000 nats)", "said (-1.000 nats)")
    with pytest.raises(ThresholdsError, match="metric: got perplexity, one number for all docs"):
        make(directory)


def test_what_was_lost_most_surely_comes_first(write_task: Write, speak: Speak) -> None:
    more = [{**QUESTIONS[0], "prompt": f"Is {number} odd?"} for number in range(4, 40, 2)]
    probe = make(write_task("made", CHOICES, [*QUESTIONS, *more]))
    rest = [(-1, -9)] * len(more)
    reference = chosen((-1, -9), (-9, -1), (-1, -9), (-9, -1), *rest)
    artifact = chosen((-3, -2), (-1, -9), (-1, -9), (-2, -4), *rest)

    worst = read(probe, speak, artifact, reference).details("accuracy.made")["worst"]

    assert [one["prompt"] for one in worst] == ["Is 1 odd?", "Is 3 odd?", "Is 0 odd?"]
