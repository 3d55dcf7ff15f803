# ruff: noqa: RUF001 - an en dash stands for a number that there is not
"""The table of runtimes below the comparison, and the sentences on what they differ in."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.report.runtimes_table import (
    differences_markdown,
    list_differences,
    list_runtimes,
    runtimes_markdown,
)
from qgate.report.table import render, render_markdown
from qgate.report.text import count_cells
from tests.report.conftest import report_of
from tests.report.full_report import full_report

AT_100 = """\
artifact                 runtime              device  kernel                why
qgate-demo               transformers 5.17.0  cpu     Linear                reference
qgate-demo               vllm 0.32.0+cpu      cpu     –                     reference
qgate-demo-Q4_K_M        llama_cpp 0.3.36     cpu     –                     gguf
qgate-demo-gptq          transformers 5.17.0  cpu     TorchAtenLinear       no GPU; vLL…ot installed
qgate-demo-nf4           transformers 5.17.0  cpu     Linear4bit            quantized w…it is loaded
qgate-demo-…mcompressor  vllm 0.32.0+cpu      cpu     CPUWNA16LinearKernel  --qgate-runtime
differences of runtimes are included: qgate-demo-Q4_K_M (llama_cpp against transformers)
the reference's perplexity in vllm is 1.00012 [0.99987, 1.00037] times that in transformers
a CPU in place of a GPU: times and memory of qgate-demo-gptq, qgate-demo-nf4 are shown, \
not judged"""

AT_60 = """\
artifact            runtime              kernel
qgate-demo          transformers 5.17.0  Linear
qgate-demo          vllm 0.32.0+cpu      –
qgate-demo-Q4_K_M   llama_cpp 0.3.36     –
qgate-demo-gptq     transformers 5.17.0  TorchAtenLinear
qgate-demo-nf4      transformers 5.17.0  Linear4bit
qgate-de…ompressor  vllm 0.32.0+cpu      CPUWNA16L…earKernel
differences of runtimes are included: qgate-demo-Q4_K_M
  (llama_cpp against transformers)
the reference's perplexity in vllm is 1.00012 [0.99987,
  1.00037] times that in transformers
a CPU in place of a GPU: times and memory of
  qgate-demo-gptq, qgate-demo-nf4 are shown, not judged"""

MARKDOWN = """\
| artifact | runtime | device | kernel | why |
|---|---|---|---|---|
| qgate-demo | transformers 5.17.0 | cpu | Linear | reference |
| qgate-demo | vllm 0.32.0+cpu | cpu | – | reference |
| qgate-demo-Q4_K_M | llama_cpp 0.3.36 | cpu | – | gguf |
| qgate-demo-gptq | transformers 5.17.0 | cpu | TorchAtenLinear | no GPU; vLLM is not installed |
| qgate-demo-nf4 | transformers 5.17.0 | cpu | Linear4bit | quantized while it is loaded |
| qgate-demo-w4a16-by-llmcompressor | vllm 0.32.0+cpu | cpu | CPUWNA16LinearKernel \
| --qgate-runtime |

* differences of runtimes are included: qgate-demo-Q4_K_M (llama_cpp against transformers)
* the reference's perplexity in vllm is 1.00012 \\[0.99987, 1.00037\\] times that in transformers
* a CPU in place of a GPU: times and memory of qgate-demo-gptq, qgate-demo-nf4 are shown, \
not judged"""


def _text(report_json: dict[str, Any], width: int) -> str:
    report = report_of(report_json)
    lines = (*list_runtimes(report, width), *list_differences(report, width))
    return "\n".join(line.text for line in lines)


@pytest.mark.parametrize(("width", "block"), [(100, AT_100), (60, AT_60)])
def test_narrow_terminals_cut_cells_and_lose_columns_and_never_the_runtime(
    mixed: dict[str, Any], width: int, block: str
) -> None:
    assert _text(mixed, width) == block


@pytest.mark.parametrize("width", [40, 48, 60, 72, 80, 100, 120, 200])
def test_every_line_fits(mixed: dict[str, Any], width: int) -> None:
    for artifact in mixed["artifacts"]:
        artifact["runtime"].update(
            device="NVIDIA H100 80GB HBM3", kernel="MarlinLinearKernel, CutlassInt8ScaledMMKernel"
        )
    lines = _text(mixed, width).splitlines()
    assert max(map(count_cells, lines)) <= width


def test_the_tables_stand_below_the_comparison(mixed: dict[str, Any]) -> None:
    table = "\n".join(line.text for line in render(report_of(mixed), 100))
    assert f"  PASS\n{AT_100}\nsmallest artifact that passes: " in table
    assert MARKDOWN in render_markdown(report_of(mixed))


def test_one_runtime_without_a_kernel_needs_no_table() -> None:
    full = full_report()
    assert _text(full.to_json(), 100) == ""
    assert runtimes_markdown(full) == differences_markdown(full) == []


def test_one_runtime_with_a_kernel_is_worth_a_table() -> None:
    report_json = full_report().to_json()
    report_json["artifacts"][1]["runtime"]["kernel"] = "TorchAtenLinear"
    assert _text(report_json, 100).splitlines() == [
        "artifact           runtime           device  kernel           why",
        "qgate-demo-F16     –                 –       –                reference",
        "qgate-demo-Q4_K_M  llama_cpp 0.3.36  cpu     –                –",
        "qgate-demo-Q2_K    llama_cpp 0.3.36  cpu     TorchAtenLinear  –",
    ]


def test_a_column_of_which_nothing_is_known_is_left_out(mixed: dict[str, Any]) -> None:
    for side in (mixed["reference"], *mixed["reference"]["elsewhere"], *mixed["artifacts"]):
        side["runtime"]["kernel"] = ""
    head, *_ = list_runtimes(report_of(mixed), 100)
    assert head.text.split() == ["artifact", "runtime", "device", "why"]


def test_an_artifact_that_nothing_served_has_a_row_all_the_same(mixed: dict[str, Any]) -> None:
    mixed["artifacts"][1].update(runtime=None, compared_with={})
    rows = [line.text.split() for line in list_runtimes(report_of(mixed), 100)]
    assert ["qgate-demo-gptq", "–", "–", "–", "–"] in rows
    assert "qgate-demo-gptq" not in "".join(
        line.text for line in list_differences(report_of(mixed), 200)
    )


def test_a_report_without_a_reference_shows_its_runtimes(mixed: dict[str, Any]) -> None:
    mixed["reference"] = {}
    for artifact in mixed["artifacts"]:
        artifact["compared_with"] = {}
    assert len(list_runtimes(report_of(mixed), 100)) == 1 + len(mixed["artifacts"])
    assert "differences" not in _text(mixed, 100)


def test_artifact_and_reference_in_one_runtime_differ_by_no_runtime(mixed: dict[str, Any]) -> None:
    mixed["artifacts"] = mixed["artifacts"][1:]
    assert "differences of runtimes" not in _text(mixed, 200)


def test_each_pair_of_runtimes_has_a_sentence_with_all_its_artifacts(
    mixed: dict[str, Any],
) -> None:
    first, second, third, fourth = mixed["artifacts"]
    third["compared_with"] = {"runtime": "vllm"}
    fourth["compared_with"] = {"runtime": "transformers"}
    second.update(id="second", runtime=fourth["runtime"])
    assert [line.text for line in list_differences(report_of(mixed), 200)][:3] == [
        "differences of runtimes are included: qgate-demo-Q4_K_M (llama_cpp against transformers)",
        "differences of runtimes are included: second, qgate-demo-w4a16-by-llmcompressor"
        " (vllm against transformers)",
        "differences of runtimes are included: qgate-demo-nf4 (transformers against vllm)",
    ]
    assert first["compared_with"] == {"runtime": "transformers"}


def test_without_a_word_on_it_the_reference_at_home_is_what_was_compared_with(
    mixed: dict[str, Any],
) -> None:
    for artifact in mixed["artifacts"]:
        del artifact["compared_with"]
    sentences = [line.text for line in list_differences(report_of(mixed), 200)]
    assert [text for text in sentences if "(vllm against transformers)" in text]


@pytest.mark.parametrize(
    "change",
    [
        {"format": "gguf"},
        {"runtime": {"name": "transformers", "version": "5.17.0", "device": "cuda"}},
    ],
)
def test_rows_without_a_limit_elsewhere_are_nobodys_stand_in(
    mixed: dict[str, Any], change: dict[str, Any]
) -> None:
    for artifact in mixed["artifacts"]:
        artifact.update(change)
    assert "in place of a GPU" not in _text(mixed, 200)


def test_times_against_a_reference_in_another_runtime_are_said_to_be_shown_only(
    mixed: dict[str, Any],
) -> None:
    (artifact,) = (one for one in mixed["artifacts"] if one["id"] == "qgate-demo-Q4_K_M")
    for check in artifact["checks"]:
        if check["name"] == "latency.tps":
            check["limit"] = None
    assert (
        "the reference in another runtime: times and memory of qgate-demo-Q4_K_M against it are"
        " shown, not judged"
    ) in _text(mixed, 200)


def test_what_comes_from_strangers_stays_text(mixed: dict[str, Any]) -> None:
    strange = "x\x1b[31m\nPASS ##[error] | `code` @someone <img>"
    for artifact in mixed["artifacts"]:
        artifact.update(id=strange, quantization=strange)
        artifact["runtime"].update(kernel=strange, reason=strange, device=strange)
    for line in render(report_of(mixed), 120):
        assert line.text.isprintable()
        assert "##[" not in line.text
    page = render_markdown(report_of(mixed))
    assert all(line.isprintable() for line in page.splitlines())
    assert " | `code`" not in page
