"""Both sides' answers to lm-eval's requests, made into pairs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.lm_eval.docs import digest_of, digest_of_all
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.paired_scores import PairedScores
from qgate.runtimes.requests import Pair, Work
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED
from tests.measure.tasks.lm_eval.made_tasks import QUESTIONS, SUMS, chosen, graded, make, read
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.runtimes.requests import TokenizerClient

    Write = Callable[..., Path]
    Speak = Callable[[int], TokenizerClient]


def test_answers_are_paired_with_what_a_report_shows(write_task: Write, speak: Speak) -> None:
    rows = [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(20)]
    probe = make(write_task("made", GENERATED, rows))
    rest = [row["answer"] for row in rows[4:]]
    reference = make_outcome(make_answers(" 1", " 2\n", " 3\nmore", " 0", *rest))
    artifact = make_outcome(make_answers(" 1", " 7", "", " 4", *rest))

    found = read(probe, speak, artifact, reference)

    assert isinstance(found, PairedAnswers)
    assert found.reference.tolist() == [True, True, True, False] + [True] * 16
    assert found.artifact.tolist() == [True, False, False, True] + [True] * 16
    assert found.reference_texts == (" 1", " 2", " 3", " 0", *rest)
    assert found.artifact_texts == (" 1", " 7", "", " 4", *rest)
    assert found.expected == tuple(row["answer"] for row in rows)
    assert found.prompts == tuple(row["prompt"] for row in rows)
    details = found.details("accuracy.made")
    assert (details["lost"], details["gained"]) == (2, 1)
    assert details["worst"][0] == {
        "prompt": "1 + 1 =",
        "reference": " 2",
        "artifact": " 7",
        "expected": " 2",
    }
    assert found.estimate("accuracy.made", 0.95, {}).value == pytest.approx(-1 / 20)


def test_the_report_tells_what_was_asked(write_task: Write, speak: Speak) -> None:
    probe = make(write_task("made", GENERATED, SUMS), max_samples=3)
    outcome = make_outcome(make_answers("", "x", "  "))

    more = read(probe, speak, outcome, outcome).more

    items = probe.loaded.items
    assert [item.digest for item in items] == [digest_of(SUMS[item.number]) for item in items]
    assert more["harness"].startswith("lm_eval 0.")
    assert {key: value for key, value in more.items() if key != "harness"} == {
        "task": "made",
        "task_version": "1.0",
        "metric": "exact_match",
        "filter": "none",
        "num_fewshot": 0,
        "items": digest_of_all(items),
        "asked": 3,
        "available": 4,
        "repeated": 0,
        "chance": 0.0,
        "truncated": 0,
        "empty": {"artifact": 2, "reference": 2},
        "length_ratio": 1.0,
        "findings": [],
    }


@pytest.mark.parametrize(("config", "rows"), [(GENERATED, SUMS), (CHOICES, QUESTIONS)])
def test_what_is_asked_is_called_by_its_doc(
    write_task: Write, speak: Speak, config: dict[str, Any], rows: list[dict[str, Any]]
) -> None:
    probe = make(write_task("made", config, rows), max_samples=3)

    work = probe.work(speak(256))

    pieces = [*work.spans, *(prompt for batch in work.batches for prompt in batch.prompts)]
    asked = [item.number for item in probe.loaded.items]
    each = 2 if config is CHOICES else 1
    assert asked != [0, 1, 2]  # a sample: a doc's number is not its place
    assert [one.name for one in pieces] == [f"doc {n + 1}" for n in asked for _ in range(each)]
    for piece in pieces:
        row = rows[int(piece.name.removeprefix("doc ")) - 1]
        assert row["prompt"] in bytes(piece.ids.tolist()).decode()


def test_the_digest_is_that_of_the_docs_and_not_of_their_spelling(
    write_task: Write,
) -> None:
    def digest() -> str:
        return digest_of_all(make(write_task("made", GENERATED, rows)).loaded.items)

    rows = SUMS
    first = digest()
    rows = [dict(reversed(row.items())) for row in SUMS]
    assert digest() == first
    rows = [*SUMS[:3], {"prompt": "3 + 1 =", "answer": " 5"}]
    assert digest() != first


def test_scores_between_right_and_wrong_are_kept_as_they_are(
    write_task: Write, speak: Speak
) -> None:
    probe = make(graded(write_task, "f1", metric="f1"))
    reference = make_outcome(make_answers("a b c 0", "a b c 1", "a b c 2"))
    artifact = make_outcome(make_answers("a b c 0", "a b", "z"))

    found = read(probe, speak, artifact, reference)

    assert isinstance(found, PairedScores)
    assert found.reference.tolist() == [1.0, 1.0, 1.0]
    assert found.artifact.tolist() == pytest.approx([1.0, 2 * 2 / 6, 0.0])
    assert found.expected == ("a b c 0", "a b c 1", "a b c 2")
    assert found.artifact_texts == ("a b c 0", "a b", "z")
    assert found.more["metric"] == "f1"


def test_a_graded_metric_stays_one_where_all_docs_are_right(
    write_task: Write, speak: Speak
) -> None:
    probe = make(graded(write_task, "f1", metric="f1"))
    side = make_outcome(make_answers("a b c 0", "a b c 1", "a b c 2"))

    assert isinstance(read(probe, speak, side, side), PairedScores)


def test_an_empty_answer_is_wrong_whatever_the_task_makes_of_it(
    write_task: Write, speak: Speak
) -> None:
    probe = make(graded(write_task, "generous", metric="right"))
    reference = make_outcome(make_answers("a", "b", "c"))
    artifact = make_outcome(make_answers("a", " \n", ""))

    found = read(probe, speak, artifact, reference)

    assert found.reference.tolist() == [True, True, True]
    assert found.artifact.tolist() == [True, False, False]
    assert found.more["empty"] == {"artifact": 2, "reference": 0}


def test_one_side_cannot_change_the_docs_of_the_other(write_task: Write, speak: Speak) -> None:
    probe = make(graded(write_task, "mutating", metric="right"))
    side = make_outcome(make_answers("a b c 0", "a b c 1", "a b c 2"))

    for _ in range(2):
        found = read(probe, speak, side, side)
        assert found.artifact.all()
        assert found.reference.all()


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (
            "corpus",
            "made: doc 1: got a tuple for f1; expected a number for every doc. Name another",
        ),
        ("broken", "made: doc 1: the task cannot read an answer: got RuntimeError: no way; expect"),
        (
            "generous",
            "made: doc 1: got a NoneType for f1; expected a number for every doc. Name an",
        ),
    ],
)
def test_a_doc_without_a_number_is_an_error(
    write_task: Write, speak: Speak, function: str, wanted: str
) -> None:
    probe = make(graded(write_task, function, metric="f1"))
    side = make_outcome(make_answers("a", "b", "c"))

    with pytest.raises(MeasurementError) as caught:
        read(probe, speak, side, side)

    assert str(caught.value).startswith(wanted)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_generated", [True, False])
def test_a_lost_answer_is_never_left_out(
    write_task: Write, speak: Speak, is_generated: bool
) -> None:
    if is_generated:
        probe = make(write_task("made", GENERATED, SUMS))
        whole = make_outcome(make_answers("1", "2", "3", "4"))
        short = make_outcome(make_answers("1", "2", "3"))
    else:
        probe = make(write_task("made", CHOICES, QUESTIONS))
        whole = chosen((-1, -2), (-1, -2), (-1, -2), (-1, -2))
        short = dataclasses.replace(whole, nll_nats=whole.nll_nats[:-1])

    for artifact, reference in ((short, whole), (whole, short)):
        with pytest.raises(MeasurementError, match="lost answers: got"):
            read(probe, speak, artifact, reference)


def test_work_of_something_else_is_refused(write_task: Write) -> None:
    probe = make(write_task("made", GENERATED, SUMS))
    side = make_outcome()

    with pytest.raises(MeasurementError, match=r"accuracy\.made: got work of another kind"):
        probe.read(Pair(work=Work(), reference=side, artifact=side))


def test_the_filter_is_the_first_or_the_one_that_is_named(write_task: Write, speak: Speak) -> None:
    number = {"function": "regex", "regex_pattern": "(\\d+)", "group_select": -1}
    filters = [
        {"name": "all", "filter": [{"function": "take_first"}]},
        {"name": "last-number", "filter": [number, {"function": "take_first"}]},
    ]
    rows = [{"prompt": f"{number} + 1 =", "answer": str(number + 1)} for number in range(3)]
    directory = write_task("made", GENERATED, rows, filter_list=filters)
    side = make_outcome(make_answers("1", "it is 2", "so 2 + 1 = 3"))

    first = read(make(directory), speak, side, side)
    last = read(make(directory, metric="exact_match,last-number"), speak, side, side)

    assert (first.more["filter"], first.artifact.tolist()) == ("all", [True, False, False])
    assert (last.more["filter"], last.artifact.tolist()) == ("last-number", [True, True, True])
