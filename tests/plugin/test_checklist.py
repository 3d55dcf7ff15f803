"""The whole checklist as one run: every line is there, picked by its mark, and judged."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import pytest

from tests.plugin.conftest import TOY_LIMITS, set_up_all

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Project

ROWS = {
    "integrity": [
        "integrity.files",
        "integrity.scheme",
        "integrity.weights",
        "integrity.tokenizer",
        "integrity.special_tokens",
        "integrity.chat_template",
    ],
    "perplexity": [
        "perplexity.increase",
        "perplexity.ratio",
        "divergence.kl_mean",
        "divergence.kl_p99",
        "divergence.same_top",
    ],
    "accuracy": [
        "accuracy.everyday",
        "accuracy.grammar",
        "accuracy.stories",
        "accuracy.classification",
        "accuracy.next_sentence",
        "accuracy.code",
        "accuracy.drill",
    ],
    "edge": [
        "edge.long_input",
        "edge.multilingual",
        "edge.math",
        "edge.repetition",
        "edge.termination",
        "edge.answer_length",
        "edge.batch_invariance",
        "edge.empty_prompt",
        "edge.context_limit",
    ],
    "latency": ["latency.ttft", "latency.itl", "latency.tps"],
    "memory": ["memory.weights", "memory.kv_cache", "memory.peak", "memory.growth"],
}
"""By line of the checklist, in the order of the report."""
UNKNOWN = [
    *ROWS["accuracy"],
    *("edge.long_input", "edge.multilingual", "edge.math"),
    *("edge.empty_prompt", "edge.context_limit"),
]
"""What a bigram model cannot do, or has too little of to lose: skipped."""
PLAIN = "everyday: off, grammar: off, stories: off"
UNASKED = "".join(f"  {row}: off\n" for row in UNKNOWN if row.startswith("edge."))
TASKS = f"tasks: {{{PLAIN}, classification: off, next_sentence: off, code: off, drill: off}}"


@pytest.fixture
def models(project: Project, tmp_path: Path) -> Path:
    return set_up_all(project, tmp_path / "models")


def test_every_row_is_there_and_judged_or_says_why_not(project: Project, models: Path) -> None:
    seen = project.gate_all(models)

    assert (seen.code, seen.report()["verdict"]) == (1, "fail")
    good, bad = seen.verdicts("good"), seen.verdicts("bad")
    assert list(good) == list(bad) == [row for rows in ROWS.values() for row in rows]
    left_out = ["perplexity.increase", *UNKNOWN, *ROWS["memory"]]
    assert [row for row, verdict in good.items() if verdict == "skipped"] == left_out
    assert {verdict for row, verdict in good.items() if row not in left_out} == {"pass"}
    failing = [row for row, verdict in bad.items() if verdict == "fail"]
    assert failing == [
        *ROWS["perplexity"][1:],  # the increase is shown: the text is not WikiText-2
        "edge.repetition",
        "edge.termination",
        "edge.answer_length",
    ]
    for row in failing:
        assert seen.message("bad", row) in seen.text
    assert seen.message("good", "memory.peak") == ("memory.peak: its runtime does not measure it")
    assert [entry["verdict"] for entry in seen.report()["artifacts"]] == ["fail", "pass"]
    assert re.search(r"^smallest artifact that passes: good ", seen.out, re.MULTILINE)


@pytest.mark.parametrize("line", ROWS)
def test_a_mark_picks_its_line_of_the_checklist(project: Project, models: Path, line: str) -> None:
    seen = project.gate_all(models, "-m", line, "-k", "good")

    assert seen.code == 0
    run = [row for row, verdict in seen.verdicts("good").items() if verdict != "incomplete"]
    assert run == ROWS[line]
    assert seen.report()["verdict"] == "incomplete"
    assert set(seen.verdicts("bad").values()) == {"incomplete"}


SLO = """  latency.ttft_slo: {percentile: 50, max_ms: 1000}
  latency.itl_slo: {percentile: 50, max_ms: 1000}
"""


def test_rows_that_need_a_budget_are_there_once_somebody_sets_one(
    project: Project, models: Path
) -> None:
    project.write("limits.yaml", TOY_LIMITS + SLO)
    seen = project.gate_all(models, "-m", "latency", "-k", "good")

    assert (seen.code, "5 passed" in seen.lines[-1]) == (0, True)
    for row in ("latency.ttft_slo", "latency.itl_slo"):
        assert seen.verdicts("good")[row] == "pass"


def test_a_row_that_says_nothing_of_this_reference_is_skipped_and_the_report_is_refused(
    project: Project, models: Path
) -> None:
    (models / "bad.gguf").unlink()
    seen = project.gate_all(models)
    verify = project.run([sys.executable, "-m", "qgate", "verify", ".qgate/report.json"])

    assert seen.code == 0
    said = [
        line for line in seen.lines if line.startswith("skipped: accuracy.drill: the reference")
    ]
    assert len(said) == 1
    assert verify.code == 1
    assert "got 'skipped'; expected 'pass', it has a limit." in verify.text


@pytest.mark.parametrize("row", ["edge.math", "accuracy.drill"])
def test_where_somebody_set_its_limit_a_row_that_says_nothing_is_an_error(
    project: Project, models: Path, row: str
) -> None:
    limits = project.write("own.yaml", f"version: 1\nlimits: {{{row}: {{max_drop: 0.1}}}}\n")
    chosen = row.partition(".")[2]
    seen = project.gate_all(models, f"--qgate-thresholds={limits}", "-k", f"good and {chosen}")

    assert (seen.code, seen.verdicts("good")[row]) == (1, "error")


def test_strictly_a_shipped_task_that_the_reference_does_not_know_fails_the_run(
    project: Project, models: Path
) -> None:
    (models / "bad.gguf").unlink()
    seen = project.gate_all(models, "--qgate-strict")

    assert seen.code == 1
    assert set(seen.verdicts("good").values()) == {"pass", "skipped"}
    (note,) = [line for line in seen.lines if line.startswith("--qgate-strict: ")]
    assert note.startswith(
        "--qgate-strict: 12 required rows were not measured: good: accuracy.everyday, "
    )
    assert seen.message("good", "accuracy.drill").startswith(
        "accuracy.drill: the reference itself does not know drill.jsonl: got 0% of 38 right;"
        " expected at least 10%. Name tasks that the model is used for, and switch this one off"
    )

    project.write("limits.yaml", f"{TOY_LIMITS}{UNASKED}{TASKS}\n")
    without = project.gate_all(models, "--qgate-strict")

    assert without.code == 0, without.text
    assert without.report()["verdict"] == "pass"
    assert [row for row in without.verdicts("good") if row.startswith("accuracy.")] == []
