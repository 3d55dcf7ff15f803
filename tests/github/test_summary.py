"""`python -m qgate summary`: the table, annotations and outputs of a report, whatever is in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from qgate.report import github
from qgate.report.report_file import write, write_json
from qgate.report.table import render_markdown
from tests.report.conftest import report_of

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Report
    from tests.github.runner import Runner, Step

SCRIPT = 'exec python -P -m qgate summary -- "$QGATE_REPORT"'
STRANGE = "x\x1b[31m\nPASS\u202e::error file=a::b ##[error] | `c` @someone <img> %0A::set-output"
MIB = 1024 * 1024
PROBLEM = "verdict: got 'error'; expected 'pass'."


def _run(runner: Runner, path: Path, **env: str) -> Step:
    return runner.run_script(SCRIPT, {"QGATE_REPORT": str(path), **env})


def _renamed(report: Report, identifier: str) -> dict[str, Any]:
    """The report with a text from strangers wherever an artifact has a say."""
    report_json = copy.deepcopy(report.to_json())
    report_json["reference"]["id"] = identifier
    for artifact in report_json["artifacts"]:
        artifact["id"] = artifact["scheme"] = identifier
        for check in artifact["checks"]:
            check["message"] = f"{check['name']}: {identifier}"
    return report_json


def _count_columns(page: str) -> list[int]:
    """Of each line; an escaped bar is no column."""
    return [line.replace("\\|", "").count("|") for line in page.splitlines()]


def test_a_report_with_the_verdict_error_is_shown_and_told(
    report: Report, path: Path, runner: Runner
) -> None:
    ended = _run(runner, path)
    assert (ended.code, ended.err) == (0, "")
    page = f"### qgate: ERROR\n\n{render_markdown(report)}\n"
    assert ended.summary.decode() == page
    assert ended.outputs == {"report": str(path), "verdict": "error"}
    told = [(c.name, c.properties, c.message) for c in ended.commands]
    assert len(told) == len(ended.out.splitlines()) == 5
    place = {"file": "thresholds/default.yaml", "line": "14"}
    assert told[0] == (
        "error",
        {**place, "title": "qgate: FAIL"},
        "qgate-demo-Q2_K: perplexity.increase: 0.81 against {'max': 0.5}"
        " (thresholds/default.yaml:14)",
    )
    assert told[3][1]["title"] == "qgate: INCONCLUSIVE"
    assert told[4] == (
        "error",
        {"title": "qgate: ERROR"},
        "broken-Q4_0: runtime llama_cpp: the child ended: got signal 11; expected a result.",
    )


def test_a_report_that_holds_has_no_annotation(
    passing: Report, tmp_path: Path, runner: Runner
) -> None:
    path = tmp_path / "report.json"
    write(passing, path)
    ended = _run(runner, path)
    assert (ended.code, ended.out) == (0, "")
    assert ended.summary.startswith(b"### qgate: PASS\n\nreference: qgate-demo-F16")
    assert ended.outputs["verdict"] == "pass"


def test_outside_github_the_table_goes_to_standard_output(
    report: Report, path: Path, runner: Runner
) -> None:
    names = ("GITHUB_STEP_SUMMARY", "GITHUB_OUTPUT", "GITHUB_ACTIONS")
    ended = _run(runner, path, **dict.fromkeys(names, ""))
    assert ended.code == 0
    assert ended.out == f"### qgate: ERROR\n\n{render_markdown(report)}\n"


def test_a_second_summary_is_put_behind_the_first(
    path: Path, runner: Runner, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n", encoding="utf-8")
    for _ in range(2):
        assert _run(runner, path, GITHUB_STEP_SUMMARY=str(page)).code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n### qgate: ERROR\n")
    assert text.count("### qgate: ERROR\n") == 2


def test_hostile_ids_and_messages_stay_text(report: Report, tmp_path: Path, runner: Runner) -> None:
    path = tmp_path / "report.json"
    write_json(_renamed(report, STRANGE), path)
    ended = _run(runner, path)
    assert ended.code == 0
    page = ended.summary.decode()
    assert all(line.isprintable() for line in page.splitlines())
    for force in ("<img>", "@someone", " | `c`", "##[error]"):
        assert force not in page
    harmless = github.render_summary(report_of(_renamed(report, "plain")), PROBLEM)
    assert _count_columns(page) == _count_columns(harmless)
    lines = ended.out.splitlines()
    assert all(line.isprintable() for line in lines)
    # five rows in two artifacts; those of one that share a message are told together
    assert len(lines) == len(ended.commands) == 2
    assert {command.name for command in ended.commands} == {"error"}
    assert set(ended.outputs) == {"report", "verdict"}


def test_a_huge_report_stays_below_githubs_limit(
    report: Report, tmp_path: Path, runner: Runner
) -> None:
    report_json = report.to_json()
    report_json["artifacts"] = report_json["artifacts"] * 800
    path = tmp_path / "report.json"
    write_json(report_json, path)
    page = tmp_path / "page.md"
    page.write_bytes(b"x" * 100_000 + b"\n")
    ended = _run(runner, path, GITHUB_STEP_SUMMARY=str(page))
    assert (ended.code, len(ended.commands)) == (0, 9)
    data = page.read_bytes()
    assert 900_000 < len(data) < MIB
    note = "Cut here: GitHub shows 1 MiB. The whole table is in the report that the run uploads."
    assert data.decode().endswith(f"\n\n{note}")


def test_a_page_that_is_full_already_is_left_as_it_is(
    path: Path, runner: Runner, tmp_path: Path
) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(b"x" * MIB)
    assert _run(runner, path, GITHUB_STEP_SUMMARY=str(page)).code == 0
    assert page.stat().st_size == MIB


def test_a_damaged_report_is_an_error_in_one_line_and_sets_nothing(
    tmp_path: Path, runner: Runner
) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(b"\x1b[31m\n::error::x")
    ended = _run(runner, path)
    assert (ended.code, ended.out, ended.outputs, ended.summary) == (4, "", {}, b"")
    assert "not JSON" in ended.err
    assert ended.err.count("\n") == 1


def test_a_missing_report_is_an_error_in_one_line_and_sets_nothing(
    tmp_path: Path, runner: Runner
) -> None:
    ended = _run(runner, tmp_path / "-none\n::error::x.json")
    assert (ended.code, ended.out, ended.outputs, ended.summary) == (4, "", {}, b"")
    assert "cannot be read: No such file or directory" in ended.err
    assert ended.err.count("\n") == 1
    assert ended.commands == []


def test_a_page_that_cannot_be_written_is_an_error_in_one_line(
    path: Path, runner: Runner, tmp_path: Path
) -> None:
    ended = _run(runner, path, GITHUB_STEP_SUMMARY=str(tmp_path))
    assert (ended.code, ended.out, ended.outputs) == (4, "", {})
    assert ended.err == (
        f"{tmp_path}: cannot be written: got Is a directory; expected a file of the runner's.\n"
    )
