"""What is told of an artifact wherever it is named: how it was quantized, and what served it."""

from __future__ import annotations

import dataclasses
from typing import Any

from qgate.report.mlflow.content import make_child, make_parent
from qgate.report.table import render, render_markdown
from tests.report.conftest import report_of
from tests.report.full_report import mixed_report

HEADERS_AT_120 = """\
qgate-demo-Q4_K_M  Q4_K_M  2.3 MB  llama_cpp 0.3.36 cpu  14 s
qgate-demo-gptq  gptq (4 bit, group 128)  2.3 MB  transformers 5.17.0 cpu  TorchAtenLinear  14 s
qgate-demo-nf4  bitsandbytes (4 bit nf4, double, while loading)  2.3 MB  transformers 5.17.0 cpu  \
Linear4bit  14 s
qgate-demo-w4a16-by-llmcompressor  compressed-tensors  2.3 MB  vllm 0.32.0+cpu cpu  \
CPUWNA16LinearKernel  14 s"""


def _headers(report_json: dict[str, Any], width: int) -> list[str]:
    lines = (line.text for line in render(report_of(report_json), width) if line.style == "bold")
    return [line for line in lines if line.endswith("PASS")]


def test_a_wide_header_tells_how_it_was_quantized_and_the_kernel(mixed: dict[str, Any]) -> None:
    headers = [line.removesuffix("PASS").rstrip() for line in _headers(mixed, 120)]
    assert "\n".join(headers) == HEADERS_AT_120


def test_a_header_loses_the_words_first_then_the_kernel_then_the_time(
    mixed: dict[str, Any],
) -> None:
    told = {width: _headers(mixed, width)[1].split("  ")[1:-1] for width in (102, 96, 72, 64, 56)}
    served, kernel = "transformers 5.17.0 cpu", "TorchAtenLinear"
    shown = {width: [fact.strip() for fact in facts if fact] for width, facts in told.items()}
    assert shown == {
        102: ["gptq (4 bit, group 128)", "2.3 MB", served, kernel, "14 s"],
        96: ["gptq", "2.3 MB", served, kernel, "14 s"],
        72: ["gptq", "2.3 MB", served, "14 s"],
        64: ["gptq", "2.3 MB", served],
        56: ["gptq", "2.3 MB"],
    }


def test_the_comparison_has_the_words_where_all_columns_fit_beside_them(
    mixed: dict[str, Any],
) -> None:
    def schemes(width: int) -> list[str]:
        texts = [line.text for line in render(report_of(mixed), width)]
        begin = next(at for at, text in enumerate(texts) if text.startswith("scheme"))
        return [text.partition("  ")[0] for text in texts[begin + 1 : begin + 6]]

    assert schemes(100) == [
        "float16",
        "Q4_K_M",
        "gptq (4 bit, group 128)",
        "bitsandbytes (4 bit nf4, double, while loading)",
        "compressed-tensors (W4A16 int4, group 128)",
    ]
    assert schemes(60) == ["float16", "Q4_K_M", "gptq", "bitsandbytes", "compressed-tensors"]


def test_markdown_always_has_the_words(mixed: dict[str, Any]) -> None:
    page = render_markdown(report_of(mixed))
    assert "| qgate-demo-gptq | gptq (4 bit, group 128) | 2.3 MB |" in page


def test_mlflow_is_told_runtime_kernel_and_reason(mixed: dict[str, Any]) -> None:
    mixed["environment"]["session_id"] = "s"
    params = make_child(report_of(mixed), report_of(mixed).artifacts[1], "parent").params
    told = {
        name: params[name]
        for name in params
        if name.startswith(("runtime.", "quantization", "compared_with"))
    }
    assert told == {
        "quantization": "4 bit, group 128",
        "runtime.name": "transformers",
        "runtime.version": "5.17.0",
        "runtime.device": "cpu",
        "runtime.kernel": "TorchAtenLinear",
        "runtime.reason": "no GPU; vLLM is not installed",
        "compared_with.runtime": "transformers",
    }
    assert make_parent(report_of(mixed)).params["reference.runtime.kernel"] == "Linear"


def test_an_unknown_runtime_is_no_parameter(mixed: dict[str, Any]) -> None:
    mixed["environment"]["session_id"] = "s"
    bare = dataclasses.replace(mixed_report().artifacts[0], runtime=None, compared_with={})
    params = make_child(report_of(mixed), bare, "parent").params
    assert not [name for name in params if name.startswith(("runtime", "compared", "quantiz"))]
