"""Public benchmarks through the gate, offline, with a real model far too small to know them.

Chance-level answers are fine: that files load, answers are graded and paired, code runs in the
sandbox and every row says what it saw is what counts.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import MeasurementError
from tests.conftest import SHARED
from tests.plugin.conftest import CLOSED_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

pytestmark = pytest.mark.slow
FILES = SHARED / "data" / "tasks"
FEW = 30
MOST_BYTES = 460
"""Of an item: with an answer it fits the context of 512 tokens, a byte or more each."""
LIMITS = """
version: 1
inherit: none
tasks:
  gsm8k: {data: %(tasks)s/gsm8k/test.jsonl, num_fewshot: 0, metric: "exact_match,flexible-extract",
    max_samples: 30, max_tokens: 24, min_reference: 0, max_drop: 0.05, rule: alarm}
  humaneval: {data: %(tasks)s/humaneval/HumanEval.jsonl.gz, code_execution: sandbox,
    max_samples: 30, max_tokens: 24, min_reference: 0, max_drop: 0.05, rule: auto}
  mbpp: {file: mbpp.jsonl, metric: code, code_execution: sandbox, max_tokens: 24,
    min_reference: 0, max_drop: 0.05, rule: alarm}
  arc: {file: arc.jsonl, metric: accuracy, choices: true, min_reference: 0, max_drop: 0.05,
    rule: alarm}
  hellaswag: {file: hellaswag.jsonl, min_reference: 0, max_drop: 0.05, rule: auto}
  mgsm_ja: {file: mgsm_ja.jsonl, metric: numeric, max_tokens: 24, min_reference: 0, max_drop: 0.05,
    rule: alarm}
  summaries: {file: summaries.jsonl, metric: rouge_l, max_tokens: 24, max_drop: 0.2, rule: alarm}
"""


def rows(name: str) -> Iterator[dict[str, Any]]:
    with (FILES / name).open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def write(path: Path, items: Iterator[dict[str, Any]]) -> None:
    """The first few that are short enough."""
    short = (one for one in items if len(json.dumps(one, ensure_ascii=False).encode()) < MOST_BYTES)
    chosen = [item for _, item in zip(range(FEW), short, strict=False)]
    assert len(chosen) == FEW
    path.write_text("".join(json.dumps(item) + "\n" for item in chosen), encoding="utf-8")


def choices(name: str) -> Iterator[dict[str, Any]]:
    for row in rows(name):
        options = [f" {choice}" for choice in row["choices"]]
        if len(set(options)) == len(options):
            yield {"prompt": row["question"], "choices": options, "answer": row["label"]}


def sums(name: str) -> Iterator[dict[str, Any]]:
    for line in (FILES / name).read_text(encoding="utf-8").splitlines():
        question, _, answer = line.rpartition("\t")
        yield {"prompt": f"{question}\n", "answer": answer}


def programs(name: str) -> Iterator[dict[str, Any]]:
    for row in rows(name):
        yield {"prompt": f'"""{row["prompt"]}"""\n', "tests": row["test"]}


@pytest.fixture
def seen(project: Project, stories: Path, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    if not FILES.is_dir():
        pytest.skip("no shared/data/tasks beside the repository")
    pytest.importorskip("lm_eval", reason="needs lm-eval")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    team = project.directory / "team"
    project.write("team/limits.yaml", LIMITS % {"tasks": FILES})
    write(team / "arc.jsonl", choices("arc/arc_easy.jsonl"))
    write(team / "hellaswag.jsonl", choices("hellaswag/hellaswag_2000.jsonl"))
    write(team / "mgsm_ja.jsonl", sums("mgsm/mgsm_ja.tsv"))
    write(team / "mbpp.jsonl", programs("mbpp/mbpp_test.jsonl"))
    tales = ({"prompt": "Once upon a time", "answer": f"there was girl {n}"} for n in range(FEW))
    write(team / "summaries.jsonl", tales)
    models = project.directory / "models"
    models.mkdir()
    for name in ("f32", "q4_0"):
        shutil.copy(stories / f"stories260K-{name}.gguf", models)
    return project.pytest(
        f"--qgate={models}",
        "--qgate-thresholds=team/limits.yaml",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        "-m",
        "accuracy",
    )


def test_every_benchmark_is_asked_graded_and_told(seen: Outcome) -> None:
    assert "Traceback" not in seen.text, seen.text
    (artifact,) = seen.report()["artifacts"]
    checks = {row["name"]: row for row in artifact["checks"]}
    assert list(checks) == [
        "accuracy.gsm8k", "accuracy.humaneval", "accuracy.mbpp", "accuracy.arc",
        "accuracy.hellaswag", "accuracy.mgsm_ja", "accuracy.summaries",
    ]  # fmt: skip
    for name, row in checks.items():
        assert row["n"] == FEW, row["message"]
        assert row["verdict"] in ("pass", "fail"), row["message"]
        assert row["limit"]["rule"] == "alarm", name
        assert row["details"]["items"].startswith("sha256:")
    gsm8k = checks["accuracy.gsm8k"]["details"]
    assert (gsm8k["task"], gsm8k["num_fewshot"], gsm8k["available"]) == ("gsm8k", 0, 1319)
    assert checks["accuracy.arc"]["details"]["reference_share"] > 0


def test_code_that_a_machine_cannot_isolate_is_an_error_of_its_row_alone(
    project: Project, stories: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a PATH without bubblewrap and unshare."""
    from qgate.sandbox import find_isolation

    empty = project.directory / "nothing"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    with pytest.raises(MeasurementError, match="bubblewrap"):
        find_isolation()
    project.write(
        "limits.yaml",
        "version: 1\ninherit: none\ntasks:\n"
        "  code: {file: code.jsonl, metric: code, code_execution: sandbox, min_reference: 0,"
        " max_tokens: 8, max_drop: 0.1, rule: alarm}\n"
        "  tales: {file: tales.jsonl, min_reference: 0, max_drop: 0.1, rule: alarm}\n",
    )
    project.write("code.jsonl", '{"prompt": "def f():\\n", "tests": "assert f() == 1"}\n')
    tales = [f'{{"prompt": "Once upon {n}", "answer": " time"}}\n' for n in range(40)]
    project.write("tales.jsonl", "".join(tales))
    seen = project.pytest(
        f"--qgate={stories / 'stories260K-q8_0.gguf'}",
        "--qgate-thresholds=limits.yaml",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        "-m",
        "accuracy",
        PATH=str(empty),
    )
    verdicts = seen.verdicts("stories260K-q8_0")
    assert verdicts["accuracy.code"] == "error", seen.text
    assert verdicts["accuracy.tales"] == "pass", seen.text
    assert "bubblewrap" in seen.message("stories260K-q8_0", "accuracy.code")
