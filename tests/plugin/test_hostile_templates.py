"""A reference's chat template that takes all there is: an error of the rows that need it alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy, write_toy
from tests.plugin.conftest import Project, gating

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIMITS = """version: 1
inherit: none
text: {source: generated, windows: 4, window_tokens: 128}
limits: {perplexity.ratio: {max: 9, rule: alarm}}
tasks:
  gsm8k: {data: gsm8k.jsonl, num_fewshot: 0, chat_template: true, max_tokens: 8,
    min_reference: 0, max_drop: 0.9, rule: alarm}
  own: {file: own.jsonl, max_drop: 0.9, min_reference: 0, rule: alarm}
"""
ROWS = (
    "-m",
    "accuracy or perplexity or edge",
    "-k",
    "gsm8k or own or ratio or repetition or termination or answer_length",
)
MESSAGE = (
    "chat template cannot be applied: got more than 2 GiB of memory in use; expected a template"
    " that renders a chat. Mend it, or ask without it"
)


@pytest.mark.slow
def test_a_template_without_measure_is_an_error_of_its_rows_alone(
    project: Project, toys: Callable[..., Path]
) -> None:
    pytest.importorskip("lm_eval", reason="needs lm-eval")
    hostile = "{{ 'a' * 3000000000 }}"
    directory = toys(good=Toy(noise=0.001, chat_template=hostile))
    write_toy(directory / "original.gguf", Toy(scheme="F32", chat_template=hostile))
    project.write("limits.yaml", LIMITS)
    sums = [{"question": f"{n} + {n}?", "answer": f"so #### {2 * n}"} for n in range(24)]
    project.write("gsm8k.jsonl", "\n".join(map(json.dumps, sums)))
    own = [{"prompt": f"{n} is", "choices": [" a", " b"], "answer": " a"} for n in range(24)]
    project.write("own.jsonl", "\n".join(map(json.dumps, own)))

    seen = project.pytest(*gating(directory), "--qgate-thresholds=limits.yaml", *ROWS)

    verdicts = seen.verdicts("good")
    refused = {check for check, verdict in verdicts.items() if verdict == "error"}
    assert refused == {
        "accuracy.gsm8k", "edge.repetition", "edge.termination", "edge.answer_length",
    }, seen.text  # fmt: skip
    for check in refused:
        assert seen.message("good", check).endswith(f": {MESSAGE}")
    assert verdicts["accuracy.own"] == verdicts["perplexity.ratio"] == "pass", seen.text
