"""With pytest-benchmark active, latency rows show the recorded times in its table and its JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import gating

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

pytest.importorskip("pytest_benchmark")
LIMITS = """
version: 1
inherit: none
latency: {prompt_tokens: 8, output_tokens: 8, pairs: 8, warmup: 1}
limits:
  latency.ttft: {max: 1000, rule: alarm}
  latency.itl: {max: 1000, rule: alarm}
  latency.tps: {min: 0.001, rule: alarm}
"""
ROWS = ("latency.ttft", "latency.itl", "latency.tps")
_SECONDS = {
    "latency.ttft": lambda value: value / 1e3,
    "latency.itl": lambda value: value / 1e3,
    "latency.tps": lambda value: 1 / value,
}


@pytest.fixture
def gate(project: Project, toys: Callable[..., Path]) -> Callable[..., Outcome]:
    project.write("limits.yaml", LIMITS)
    models = toys(model=Toy(noise=0.001))

    def run(*arguments: str) -> Outcome:
        latency = ("--qgate-thresholds=limits.yaml", "-m", "latency")
        return project.pytest(*gating(models), *latency, *arguments)

    return run


def table_names(seen: Outcome) -> list[str]:
    """Of the benchmarks' tables."""
    return [
        line.split()[0].partition("[")[0]
        for line in seen.lines
        if line.startswith("latency.") and "[model]" in line
    ]


def benchmarks_in(path: Path) -> dict[str, dict[str, Any]]:
    return {one["fullname"]: one for one in json.loads(path.read_text())["benchmarks"]}


def test_the_json_holds_the_times_that_were_judged(gate: Callable[..., Outcome]) -> None:
    seen = gate("--benchmark-json=bench.json")

    assert seen.code == 0
    assert sorted(table_names(seen)) == sorted(ROWS)
    rows = {row["name"]: row for row in seen.report()["artifacts"][0]["checks"]}
    found = benchmarks_in(seen.directory / "bench.json")
    assert set(found) == {f"{check}[model]" for check in ROWS}
    for check in ROWS:
        shown, kept = found[f"{check}[model]"], rows[check]["details"]
        recorded = [_SECONDS[check](value) for value in kept["samples"]["artifact"]]
        assert shown["stats"]["data"] == pytest.approx(recorded, rel=0.02, abs=1e-7)
        assert shown["stats"]["rounds"] == 8
        assert shown["group"] == check
        assert shown["options"]["timer"] == "recorded by qgate"
        assert shown["extra_info"]["formula"] == kept["formula"]
        assert shown["extra_info"]["reference_median"] == kept["reference_median"]
        assert shown["extra_info"]["ratio"]["value"] == pytest.approx(rows[check]["value"])


def test_gates_can_be_compared(gate: Callable[..., Outcome]) -> None:
    first = gate("--benchmark-autosave")
    second = gate("--benchmark-compare", "--benchmark-compare-fail=min:100000%")

    assert (first.code, second.code) == (0, 0)
    for check in ROWS:
        compared = [line for line in second.lines if line.startswith(f"{check}[model] (")]
        assert sorted(line.split()[1].strip("()")[:4] for line in compared) == ["0001", "NOW"]


@pytest.mark.parametrize("option", ["--benchmark-disable", "--benchmark-skip", "-pno:benchmark"])
def test_rows_are_judged_where_nothing_is_shown(gate: Callable[..., Outcome], option: str) -> None:
    seen = gate(option)

    assert seen.code == 0
    assert set(seen.verdicts("model").values()) == {"pass"}
    assert set(seen.verdicts("model")) == set(ROWS)
    assert table_names(seen) == []
    assert "warning" not in seen.lines[-1]


def test_latency_rows_are_benchmarks_and_others_are_not(gate: Callable[..., Outcome]) -> None:
    seen = gate("--benchmark-only", "-m", "latency or perplexity")

    assert sorted(table_names(seen)) == sorted(ROWS)
    assert {seen.verdicts("model")[check] for check in ROWS} == {"pass"}
    assert "3 passed, 5 skipped" in seen.lines[-1]


def test_a_failing_row_is_shown_too(gate: Callable[..., Outcome], project: Project) -> None:
    project.write("limits.yaml", LIMITS.replace("min: 0.001", "min: 1000"))

    seen = gate()

    assert seen.code == 1
    assert seen.verdicts("model")["latency.tps"] == "fail"
    assert "latency.tps" in table_names(seen)
