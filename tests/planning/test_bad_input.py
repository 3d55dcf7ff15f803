"""Paths, names and files of which no run can be made: one line, before anything is loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.planning.options import RunOptions
from qgate.planning.plan import plan_run
from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.planning.conftest import Refuse

    Toys = Callable[..., Path]


def test_only_the_reference(refuse: Refuse, toys: Toys) -> None:
    models = toys()
    assert refuse(models, thresholds=None) == (
        f"--qgate: {models}: got only the reference (original);"
        " expected at least one artifact to hold against it"
    )


def test_two_possible_references(project: Path, refuse: Refuse, toys: Toys) -> None:
    models = toys(good=Toy(), copy=Toy(scheme="F32"))
    assert refuse(models, thresholds=None) == (
        "--qgate-reference: 2 artifacts could be the reference: copy, original."
        " Name one with --qgate-reference PATH."
    )
    named = RunOptions(
        paths=(models,), directory=project, reference=models / "original.gguf", runtime="fake"
    )
    plan = plan_run(named)
    assert plan.require_reference().id == "original"
    assert {one.artifact.id for one in plan.artifacts} == {"good", "copy"}


def test_an_unknown_runtime_name(refuse: Refuse, toys: Toys) -> None:
    line = refuse(toys(good=Toy()), thresholds=None, runtime="lama_cpp")
    assert line.startswith("--qgate-runtime: unknown runtime: got 'lama_cpp'; expected one")
    assert line.endswith("Did you mean 'llama_cpp'?")


FILES = {
    "a row that does not exist": (
        "limits:\n  perplexity.ration: {max: 1.2}\n",
        "limits.yaml:3: unknown check 'perplexity.ration' in limits."
        " Did you mean 'perplexity.ratio'?",
    ),
    "a task that nobody named": (
        "limits:\n  accuracy.dril: {max_drop: 0.02}\n",
        "limits.yaml:3: unknown check 'accuracy.dril' in limits. Did you mean 'accuracy.drill'?",
    ),
    "a percentile of too few requests": (
        "limits:\n  latency.ttft_slo: {percentile: 99, max_ms: 200}\n",
        "limits.yaml:3: latency.ttft_slo: percentile 99 needs 459 requests at level 0.98;"
        " got latency.pairs: 24. Set latency.pairs: 459 or more, or hold a lower percentile.",
    ),
    "an item twice": (
        "tasks:\n  sums: {file: sums.jsonl, max_drop: 0.05}\n",
        "sums.jsonl:2: duplicate item: got '2 + 2 =' with the same answer as on line 1;"
        " expected every item once.",
    ),
    "no file": (None, "limits.yaml: "),
}


@pytest.mark.parametrize("case", FILES)
def test_a_wrong_file_is_refused_with_its_line(
    project: Path, refuse: Refuse, toys: Toys, case: str
) -> None:
    text, beginning = FILES[case]
    (project / "sums.jsonl").write_text('{"prompt": "2 + 2 =", "answer": " 4"}\n' * 2)
    if text is not None:
        (project / "limits.yaml").write_text(f"version: 1\n{text}")

    assert refuse(toys(good=Toy())).startswith(beginning)
