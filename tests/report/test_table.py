from __future__ import annotations

import dataclasses

import pytest

from qgate.records import Record, Report, Verdict
from qgate.report.table import render, render_markdown
from qgate.report.text import count_cells
from tests.report.conftest import report_of

STRANGE = "x\x1b[31m\nPASS\u202e::set-output name=a::b ##[error] | `code` @someone <img> #12 ![](u)"


def _text(report: Report, width: int) -> str:
    return "\n".join(line.text for line in render(report, width))


def _renamed(report: Report, identifier: str) -> Report:
    first = report.artifacts[0]
    record = dataclasses.replace(first.records[0], message=identifier, verdict=Verdict.FAIL)
    changed = dataclasses.replace(first, id=identifier, scheme=identifier, records=(record,))
    return dataclasses.replace(report, artifacts=(changed,), reference={"id": identifier})


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_no_row_is_wider_than_the_terminal(report: Report, width: int) -> None:
    long = "Meta-Llama-3.1-8B-Instruct-" * 5 + "Q4_K_M"
    for table in (report, _renamed(report, long), _renamed(report, "模型" * 60)):
        lines = render(table, width)
        assert len(lines) > 3
        rows = lines[: next(i for i, line in enumerate(lines) if ": " in line.text)]
        assert max(count_cells(line.text) for line in rows) <= width


def test_rows_with_one_cause_share_one_line(passing: Report) -> None:
    names = ("perplexity.increase", "perplexity.ratio", "divergence.kl_mean")
    lost = tuple(
        Record(name=name, verdict=Verdict.ERROR, message="m: runtime crashed: SIGSEGV in score")
        for name in names
    )
    artifact = dataclasses.replace(passing.artifacts[0], records=lost, verdict=Verdict.ERROR)
    table = _text(dataclasses.replace(passing, artifacts=(artifact,)), 120)
    line = (
        "qgate-demo-Q8_0: m: runtime crashed: SIGSEGV in score"
        " (3 rows: perplexity.increase ... divergence.kl_mean)"
    )
    assert [row for row in table.splitlines() if "SIGSEGV" in row] == [line]


def test_an_area_without_numbers_that_holds_is_one_line(passing: Report) -> None:
    names = ("integrity.files", "integrity.scheme", "integrity.tokenizer")
    whole = tuple(Record(name=name, verdict=Verdict.PASS, message=name) for name in names)
    broken = (*whole[:2], dataclasses.replace(whole[2], verdict=Verdict.FAIL))
    for records, shown in ((whole, ["integrity.* (3 rows)"]), (broken, list(names))):
        artifact = dataclasses.replace(passing.artifacts[0], records=records)
        table = _text(dataclasses.replace(passing, artifacts=(artifact,)), 100)
        rows = [line.strip() for line in table.splitlines() if line.startswith("  integrity")]
        assert [row.rpartition("  ")[0].strip() or row for row in rows] == shown


def test_what_a_narrowed_run_left_out_is_one_line_an_area(passing: Report) -> None:
    report_json = passing.to_json()
    (artifact,) = report_json["artifacts"]
    one = artifact["checks"][0]
    left_out = {**one, "verdict": "incomplete", "value": None, "details": {}}
    names = ("accuracy.b", "accuracy.c", "latency.itl", "latency.tps", "memory.peak")
    artifact["checks"] = [
        {**one, "name": "accuracy.a"},
        *({**left_out, "name": name} for name in names),
        {**left_out, "name": "memory.growth", "verdict": "error"},
    ]

    lines = [line.text.split() for line in render(report_of(report_json), 100)]
    rows = [(" ".join(words[:4]), words[-1]) for words in lines if words[0].find(".") > 0]

    assert rows == [
        ("accuracy.a 0.0081 [0.0066, 0.0097]", "pass"),
        ("accuracy.* (2 more rows)", "INCOMPLETE"),
        ("latency.* (2 rows) INCOMPLETE", "INCOMPLETE"),
        ("memory.peak <= 0.5 INCOMPLETE", "INCOMPLETE"),
        ("memory.growth <= 0.5 B", "ERROR"),
    ]


def test_a_long_id_keeps_both_its_ends(report: Report) -> None:
    table = _text(_renamed(report, "Meta-Llama-" * 12 + "Q4_K_M"), 60)
    header = next(line for line in table.splitlines() if line.endswith("PASS"))
    assert header.startswith("Meta-Llama-")
    assert "…" in header
    assert "Q4_K_M" in header


def test_colour_repeats_what_the_words_say(report: Report) -> None:
    styles = {line.text.split()[-1]: line.style for line in render(report, 100)[2:14]}
    assert styles == {
        "PASS": "bold",
        "FAIL": "red",
        "ERROR": "red",
        "pass": "green",
        "INCONCLUSIVE": "yellow",
        "skipped": "plain",
    }


def test_without_a_passing_artifact_the_last_line_says_so(report: Report) -> None:
    failing = dataclasses.replace(report, artifacts=report.artifacts[1:])
    last = render(failing, 100)[-1]
    assert (last.text, last.style) == ("no artifact passes", "red")


def test_a_run_without_artifacts_or_reference_is_no_pass(report: Report) -> None:
    empty = dataclasses.replace(report, artifacts=(), reference={})
    assert _text(empty, 80) == "no reference\nno artifact passes"


def test_an_artifact_without_rows_is_seen(passing: Report) -> None:
    bare = dataclasses.replace(passing.artifacts[0], records=(), runtime=None)
    lines = render(dataclasses.replace(passing, artifacts=(bare,)), 60)
    assert ("  no rows", "red") in [(line.text, line.style) for line in lines]


def test_hostile_names_and_messages_stay_text_in_a_terminal(report: Report) -> None:
    for line in render(_renamed(report, STRANGE), 100):
        assert line.text.isprintable()
        assert "##[" not in line.text
    commands = _text(_renamed(report, " ::add-mask::secret"), 100).splitlines()
    assert [line for line in commands if line.strip().startswith("::")] == []


def test_hostile_names_and_messages_stay_text_in_markdown(report: Report) -> None:
    text = render_markdown(_renamed(report, STRANGE))
    assert all(line.isprintable() for line in text.splitlines())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    comparison, checks = rows[:4], rows[4:]
    assert {line.replace("\\|", "").count("|") for line in comparison} == {6}
    assert {line.replace("\\|", "").count("|") for line in checks} == {8}
    for active in ("<img", "@someone", " `code", "#12", "!["):
        assert active not in text
    assert "\\|" in text
    assert "\\`code\\`" in text


def test_in_markdown_what_failed_stands_before_the_long_table(report: Report) -> None:
    text = render_markdown(report)
    parts = ("reference: ", "| size | perplexity", "* qgate-demo-Q2_K", "| size | check")
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_the_markdown_table_has_every_row_and_message(report: Report) -> None:
    text = render_markdown(report)
    assert "| qgate-demo-Q2_K | Q2_K | 2.6 MB |  |  |  | FAIL |" in text
    row = "|  |  |  | divergence.same_top | 90.0 % \\[89.0, 91.0\\] | &gt;= 90 % | INCONCLUSIVE |"
    assert row in text
    assert "* broken-Q4_0: runtime llama_cpp: the child ended: got signal 11;" in text
    assert text.endswith(
        "smallest artifact that passes: qgate-demo-Q8_0 (Q8_0, 7.4 MB, 53 % of the reference)"
    )


def test_why_rows_were_skipped_is_said_once_for_all_artifacts(report: Report) -> None:
    report_json = report.to_json()
    same, other = "the reference itself does not know them", "the runtime does not tell"
    for artifact in report_json["artifacts"]:
        artifact["checks"] = [
            {**artifact["checks"][0], "name": name, "verdict": "skipped", "value": None,
             "message": f"{name}: {cause}", "limit": None, "details": {}}
            for name, cause in (("accuracy.a", same), ("accuracy.b", other), ("accuracy.c", same))
        ]  # fmt: skip

    found = [
        line.text for line in render(report_of(report_json), 100) if line.text.startswith("skipped")
    ]

    assert found == [
        f"skipped: {same} (2 rows: accuracy.a ... accuracy.c)",
        f"skipped: accuracy.b: {other}",
    ]
