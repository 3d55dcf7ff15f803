"""The pure texts for GitHub Actions: commands, outputs and the page, escaped and cut."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import pytest

from qgate.records import Verdict
from qgate.report import github
from qgate.report.text import cut_lines
from tests.github.runner import parse_command, parse_outputs
from tests.report.conftest import report_of

if TYPE_CHECKING:
    from qgate.records import Report

PROBLEM = "verdict: got 'error'; expected 'pass'."


@pytest.mark.parametrize("source", ["a,line=7::x:14", "%2C\n::error::.yaml:14", "C:\\limits:14"])
def test_a_hostile_thresholds_path_stays_in_its_property(source: str, report: Report) -> None:
    report_json = copy.deepcopy(report.to_json())
    for artifact in report_json["artifacts"]:
        for check in artifact["checks"]:
            check["limit"] = {"max": 1.0, "rule": "certify", "source": source}
    lines = github.render_annotations(report_of(report_json), PROBLEM)
    commands = [parse_command(line) for line in lines]
    shown = source.rpartition(":")[0].replace("\n", "\\n")
    for command in commands:
        assert command is not None
        assert command.name == "error"
        assert command.properties["file"] == shown
        assert command.properties["line"] == "14"
        assert set(command.properties) == {"file", "line", "title"}


@pytest.mark.parametrize(
    ("text", "data", "as_property"),
    [
        ("plain", "plain", "plain"),
        ("100 %", "100 %25", "100 %25"),
        ("%0A", "%250A", "%250A"),
        ("a\r\nb", "a%0D%0Ab", "a%0D%0Ab"),
        ("a:b,c=d::e", "a:b,c=d::e", "a%3Ab%2Cc=d%3A%3Ae"),
    ],
)
def test_commands_are_escaped_as_githubs_toolkit_does(
    text: str, data: str, as_property: str
) -> None:
    assert github.escape_data(text) == data
    assert github.escape_property(text) == as_property
    read_back = parse_command(f"::error file={as_property}::{data}")
    assert read_back is not None
    assert (read_back.properties["file"], read_back.message) == (text, text)


@pytest.mark.parametrize("count", [1, 9, 10, 500])
def test_no_more_than_nine_annotations_and_the_last_counts_the_rest(
    count: int, report: Report
) -> None:
    report_json = copy.deepcopy(report.to_json())
    row = report_json["artifacts"][1]["checks"][0]
    rows = [{**row, "message": f"perplexity.increase: {number}"} for number in range(count)]
    report_json["artifacts"] = [{**report_json["artifacts"][1], "checks": rows}]
    lines = github.render_annotations(report_of(report_json), PROBLEM)
    assert len(lines) == min(count, 9)
    rest = f"::error title=qgate::and {count - 8} more; see the summary of this run"
    assert (lines[-1] == rest) is (count > 9)


def test_rows_with_one_cause_are_told_once(report: Report) -> None:
    report_json = copy.deepcopy(report.to_json())
    names = ("perplexity.increase", "divergence.kl_mean", "divergence.kl_p99")
    row = report_json["artifacts"][2]["checks"][0]
    rows = [{**row, "name": name, "message": f"{name}: not measured in this run"} for name in names]
    report_json["artifacts"] = [{**report_json["artifacts"][2], "checks": rows}]
    assert github.render_annotations(report_of(report_json), PROBLEM) == [
        "::error title=qgate%3A ERROR::broken-Q4_0: not measured in this run"
        " (3 rows: perplexity.increase ... divergence.kl_p99)"
    ]


def test_a_row_that_was_skipped_though_it_has_a_limit_is_told(passing: Report) -> None:
    report_json = copy.deepcopy(passing.to_json())
    report_json["artifacts"][0]["checks"][1]["verdict"] = "skipped"
    (line,) = github.render_annotations(report_of(report_json), PROBLEM)
    assert line.startswith("::error file=thresholds/default.yaml,line=14,title=qgate%3A SKIPPED::")


def test_a_report_without_a_failing_row_says_why_it_does_not_hold(passing: Report) -> None:
    empty = dataclasses.replace(passing, artifacts=())
    problem = "artifacts: got none; expected at least one."
    assert github.render_annotations(empty, problem) == [f"::error title=qgate::{problem}"]
    page = github.render_summary(empty, problem)
    assert page.startswith(f"### qgate: ERROR\n\n{problem}\n\n")


@pytest.mark.parametrize(
    ("claimed", "problem", "verdict"),
    [
        ("pass", None, "pass"),
        ("pass", "a row that failed", "error"),
        ("fail", PROBLEM, "fail"),
        ("incomplete", PROBLEM, "incomplete"),
    ],
)
def test_the_verdict_is_one_of_the_reports_words(
    claimed: str, problem: str | None, verdict: str, passing: Report
) -> None:
    report = dataclasses.replace(passing, verdict=Verdict(claimed))
    assert github.get_verdict(report, problem) == verdict


@pytest.mark.parametrize("value", ["pass", "a\nverdict=pass", "x<<y\nz", "", "\n", "\r\n", "="])
def test_an_output_cannot_end_itself_early(value: str) -> None:
    text = github.render_output("report", value)
    assert parse_outputs(text.encode()) == {"report": value}
    # the text that ends it cannot be guessed
    assert github.render_output("report", value) != text


def test_a_huge_name_and_message_are_cut(passing: Report) -> None:
    report_json = copy.deepcopy(passing.to_json())
    (artifact,) = report_json["artifacts"]
    artifact["id"] = artifact["scheme"] = "模" * 400_000
    artifact["checks"][0].update(verdict="fail", message="模" * 400_000)
    (line,) = github.render_annotations(report_of(report_json), PROBLEM)
    assert len(line) < 5000
    page = github.render_summary(report_of(report_json), PROBLEM)
    assert len(page.encode()) <= github.SUMMARY_BYTES


def test_a_cut_falls_between_lines_and_counts_bytes() -> None:
    text = "ä" * 10 + "\n" + "ö" * 10
    assert cut_lines(text, 41, "\n...") == text
    assert cut_lines(text, 40, "\n...") == "ä" * 10 + "\n..."
    assert cut_lines(text, 23, "\n...") == "\n..."
    assert cut_lines(text, 3, "\n...") == ""
