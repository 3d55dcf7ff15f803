# ruff: noqa: RUF001 - an en dash stands for a number that there is not
from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest

from qgate.report.comparison import compare, compare_markdown
from qgate.report.text import count_cells
from tests.report.conftest import report_of

if TYPE_CHECKING:
    from qgate.records import Report

MARKDOWN = """\
| artifact | scheme | size | perplexity | KL nats | accuracy | TTFT | tokens/s | memory | verdict |
|---|---|---:|---:|---:|---:|---:|---:|---:|---|
| qgate-demo-F16 | F16 | 7.3 MB | 1.607 | – | 94.1 % | 12.5 ms | 465 | 29.9 MiB | reference |
| qgate-demo-Q4_K_M | Q4_K_M | 2.3 MB | +0.0078 | 0.00492 | 93.9 % | 14.0 ms | 712 | 21.4 MiB \
| PASS |
| qgate-demo-Q2_K | Q2_K | 1.7 MB | +0.810 | 0.121 | 80.1 % | – | 96.2 | – | ERROR |"""


@pytest.fixture(name="full_json")
def report_json(full: Report) -> dict[str, Any]:
    return copy.deepcopy(full.to_json())


def _text(report_json: dict[str, Any], width: int) -> str:
    return "\n".join(line.text for line in compare(report_of(report_json), width))


def _without(report_json: dict[str, Any], *names: str) -> dict[str, Any]:
    """The report as if these had not been measured on any side."""
    for side in (report_json["reference"], *report_json["artifacts"]):
        side["measured"] = {k: v for k, v in side["measured"].items() if k not in names}
    return report_json


@pytest.mark.parametrize("width", [24, 30, 40, 50, 70, 90, 110])
def test_every_line_fits_and_ends_with_its_verdict(full_json: dict[str, Any], width: int) -> None:
    lines = [line.text for line in compare(report_of(full_json), width)]
    assert max(map(count_cells, lines)) <= width
    assert [line.split()[-1] for line in lines] == ["verdict", "reference", "PASS", "ERROR"]


def test_the_markdown_table_has_every_column(full_json: dict[str, Any]) -> None:
    assert "\n".join(compare_markdown(report_of(full_json))) == MARKDOWN


def test_a_row_has_the_colour_of_its_verdict_and_no_other(full_json: dict[str, Any]) -> None:
    assert [line.style for line in compare(report_of(full_json), 100)] == [
        "bold",
        "plain",
        "green",
        "red",
    ]


def test_a_column_that_nobody_measured_is_left_out(full_json: dict[str, Any]) -> None:
    lines = _text(_without(full_json, "ttft_ms", "output_tps", "accuracy"), 100).splitlines()
    assert lines[0].split("  ")[0] == "scheme"
    assert lines[0].split() == ["scheme", "size", "perplexity", "KL", "nats", "memory", "verdict"]


def test_where_nothing_was_measured_there_is_nothing_to_compare(full_json: dict[str, Any]) -> None:
    bare = _without(full_json, "accuracy", "ttft_ms", "output_tps", "peak_memory_bytes")
    bare["reference"].pop("perplexity")
    for artifact in bare["artifacts"]:
        artifact["checks"] = []
    assert compare(report_of(bare), 100) == []
    assert compare_markdown(report_of(bare)) == []


def test_one_artifact_alone_is_not_compared(full_json: dict[str, Any]) -> None:
    full_json["artifacts"] = full_json["artifacts"][:1]
    assert len(compare(report_of(full_json), 100)) == 3
    full_json["reference"] = {}
    assert compare(report_of(full_json), 100) == []


def test_a_reference_alone_is_not_compared(full_json: dict[str, Any]) -> None:
    full_json["artifacts"] = []
    assert compare(report_of(full_json), 100) == []


def test_a_reference_of_which_little_is_known_is_shown_all_the_same(
    full_json: dict[str, Any],
) -> None:
    full_json["reference"] = {"id": "original"}
    lines = _text(full_json, 100).splitlines()
    assert lines[1].split() == ["–"] * 8 + ["reference"]
    assert compare_markdown(report_of(full_json))[2].startswith("| original | – | – | – |")


def test_artifacts_of_one_scheme_are_told_apart_by_their_names(full_json: dict[str, Any]) -> None:
    for artifact, name in zip(full_json["artifacts"], ("ours", "theirs"), strict=True):
        artifact.update(id=f"llama-3.1-8b-instruct-{name}-Q4_K_M", scheme="Q4_K_M")
    lines = _text(full_json, 120).splitlines()
    assert [line.split()[0] for line in lines] == [
        "artifact",
        "qgate-demo-F16",
        "llama-3.1-8b-instruct-ours-Q4_K_M",
        "llama-3.1-8b-instruct-theirs-Q4_K_M",
    ]
    # the least of the columns goes before what is left of a name tells nothing any more
    head, _, *rows = (line.split() for line in _text(full_json, 100).splitlines())
    assert [row[0] for row in rows] == [
        "llama-3.1-8b-i…uct-ours-Q4_K_M",
        "llama-3.1-8b-i…t-theirs-Q4_K_M",
    ]
    assert "TTFT" not in head


def test_better_perplexity_has_a_minus_and_an_equal_one_no_sign(full_json: dict[str, Any]) -> None:
    better, equal = full_json["artifacts"]
    for artifact, value in ((better, -0.0021), (equal, 0.0)):
        (check,) = (row for row in artifact["checks"] if row["name"] == "perplexity.increase")
        check.update(value=value, low=value, high=value)
    rows = [line.split() for line in _text(full_json, 100).splitlines()]
    assert [row[3] for row in rows[2:]] == ["-0.0021", "0.000"]
