"""What a failing row shows of its samples."""

from __future__ import annotations

from qgate.records import Record, Report, Verdict
from qgate.report.worst_samples import show_worst, tabulate_worst
from tests.report.conftest import make_artifact


def row(*worst: dict[str, str]) -> Record:
    details = {"worst": list(worst)}
    return Record(name="accuracy.code", verdict=Verdict.FAIL, message="", details=details)


def test_both_sides_stand_below_what_was_asked() -> None:
    flip = {"prompt": ">>> 1 + 1", "expected": "\n2", "reference": "\n2", "artifact": "\n3"}

    assert show_worst(row(flip, {**flip, "artifact": ""})).split("\n") == [
        "1. prompt    >>> 1 + 1",
        "   expected  \\n2",
        "   reference \\n2",
        "   artifact  \\n3",
        "",
        "2. prompt    >>> 1 + 1",
        "   expected  \\n2",
        "   reference \\n2",
        "   artifact  ",
    ]


def test_long_prompts_keep_their_end_and_long_answers_their_beginning() -> None:
    sample = {"prompt": "a" * 500 + "?", "reference": "yes" + "b" * 500, "artifact": "no"}

    asked, said, _ = show_worst(row(sample)).split("\n")

    assert asked.endswith("a?")
    assert said.startswith("   reference yesb")
    assert max(len(asked), len(said)) < 180


def test_nothing_that_a_model_says_reaches_the_terminal_as_an_escape_or_a_command() -> None:
    shown = show_worst(
        row({"prompt": "\x1b[2J\r::error::x", "reference": "a\nb", "artifact": "\0"})
    )

    assert "\x1b" not in shown
    assert "\r" not in shown
    assert len(shown.split("\n")) == 3


def test_in_mlflows_table_a_flip_is_a_row_with_both_answers() -> None:
    flip = {"prompt": "2 + 2 =", "expected": " 4", "reference": " 4", "artifact": " 5"}
    unasked = {name: text for name, text in flip.items() if name != "expected"}
    rows = (row(flip, unasked), Record(name="memory.peak", verdict=Verdict.PASS, message=""))
    artifact = make_artifact("q4", "Q4_0", 1, Verdict.FAIL, *rows)
    report = Report(verdict=Verdict.FAIL, environment={}, reference={}, artifacts=(artifact,))

    assert tabulate_worst(report) == {
        "columns": [
            "artifact", "check", "prompt", "expected", "reference_answer", "artifact_answer"
        ],
        "data": [
            ["q4", "accuracy.code", "2 + 2 =", " 4", " 4", " 5"],
            ["q4", "accuracy.code", "2 + 2 =", "", " 4", " 5"],
        ],
    }  # fmt: skip


def test_a_row_without_samples_shows_none() -> None:
    record = Record(name="latency.tps", verdict=Verdict.FAIL, message="")
    assert show_worst(record) == ""
