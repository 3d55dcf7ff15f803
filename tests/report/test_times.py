# ruff: noqa: RUF001 - an en dash stands for a number that there is not
from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.report.phases import describe_total, list_phases, tabulate_phases
from qgate.report.table import render, render_markdown
from qgate.report.text import count_cells

if TYPE_CHECKING:
    from qgate.records import Report

MARKDOWN = """\
| seconds | reference | qgate-demo-Q4_K_M | qgate-demo-Q2_K |
|---|---:|---:|---:|
| load | 0.3 | 0.2 | 190.0 |
| perplexity | 5.1 | 3.2 | – |
| memory | – | 1.9 | – |
| latency | – | 4.4 | – |
| accuracy.code | – | 1.4 | – |
| edge.math | – | 0.9 | – |
| edge.long_input | – | 2.0 | – |
| all | 5.4 | 14.1 | 190.0 |"""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.4, "9.4 s"),
        (14.08, "14 s"),
        (119.4, "119 s"),
        (190.0, "3.2 min"),
        (3600.0, "60 min"),
    ],
)
def test_the_time_of_an_artifact_is_short(seconds: float, text: str) -> None:
    assert describe_total({"time.load_s": seconds / 2, "time.latency_s": seconds / 2}) == text


def test_only_phases_are_added_up() -> None:
    assert describe_total({"time.load_s": 2.0, "scoring_s": 12.5, "ttft_ms": 14.0}) == "2.0 s"
    assert describe_total({"scoring_s": 12.5}) == ""


def test_the_header_of_an_artifact_has_its_time_where_there_is_room(full: Report) -> None:
    wide = [line.text for line in render(full, 100) if line.style == "bold"]
    assert wide[0].split("  ")[4] == "14 s"
    assert wide[1].split("  ")[4] == "3.2 min"
    narrow = [line.text for line in render(full, 60) if line.style == "bold"]
    assert narrow[0] == "qgate-d…o-Q4_K_M  Q4_K_M  2.3 MB  llama_cpp 0.3.36 cpu  PASS"


def test_phases_are_listed_when_they_are_asked_for(full: Report) -> None:
    brief, verbose = ([line.text for line in render(full, 100, verbose=v)] for v in (False, True))
    assert [line for line in verbose if line not in brief] == [
        "  seconds  load 0.3, perplexity 5.1",
        "  seconds  load 0.2, memory 1.9, latency 4.4, perplexity 3.2, accuracy.code 1.4, "
        "edge.math 0.9,",
        "           edge.long_input 2.0",
        "  seconds  load 190.0",
    ]
    assert [line for line in verbose if line in brief] == brief


@pytest.mark.parametrize("width", [30, 41, 60, 80])
def test_a_phase_and_its_time_stay_on_one_line(full: Report, width: int) -> None:
    lines = [line.text for line in list_phases(full.artifacts[0].measured, width)]
    assert max(map(count_cells, lines)) <= width
    parts = "".join(line.removeprefix("  seconds").lstrip() + " " for line in lines).split(", ")
    assert [part.split()[0] for part in parts][-2:] == ["edge.math", "edge.long_input"]
    assert all(len(part.split()) == 2 for part in parts)


def test_the_markdown_table_has_a_row_for_every_phase(full: Report) -> None:
    assert "\n".join(tabulate_phases(full)) == MARKDOWN
    assert MARKDOWN in render_markdown(full)


def test_where_nothing_was_timed_no_time_is_shown(report: Report) -> None:
    assert tabulate_phases(report) == []
    assert list(list_phases(report.artifacts[0].measured, 100)) == []
    assert render(report, 100, verbose=True) == render(report, 100)
