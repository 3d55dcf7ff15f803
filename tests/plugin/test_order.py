"""Which rows run, and in which order, changes no number, starts no child, asks nothing twice."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from qgate.checks import area_of
from tests.conftest import Toy
from tests.plugin.conftest import TOY_LIMITS, new_project, set_up_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

REVERSED = """
def pytest_collection_modifyitems(items):
    items.reverse()
"""
NUMBERS = ("verdict", "value", "low", "high", "level", "n", "p_value", "message", "details")
QUALITY = ("perplexity", "divergence", "accuracy", "edge")
ROWS = 5 + 7 + 9
"""Of each artifact."""
Rows = dict[tuple[str, str], dict[str, Any]]


def quality(seen: Outcome) -> Rows:
    """By artifact and row, all that was measured but times, sizes and findings without a number."""
    return {
        (entry["id"], row["name"]): {name: row[name] for name in NUMBERS}
        for entry in seen.report()["artifacts"]
        for row in entry["checks"]
        if area_of(row["name"]) in QUALITY and row["verdict"] != "incomplete"
    }


@pytest.fixture
def models(project: Project, tmp_path: Path) -> Path:
    return set_up_all(project, tmp_path / "models")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """Of a run of everything, in the checklist's own order."""
    place = tmp_path_factory.mktemp("straight")
    project = new_project(place / "project")
    seen = project.gate_all(set_up_all(project, place / "models"))
    assert "test_accuracy.py sssssss" in seen.out
    assert len(quality(seen)) == 2 * ROWS
    return quality(seen)


def test_the_reverse_order_changes_no_number(project: Project, models: Path, numbers: Rows) -> None:
    project.write("conftest.py", REVERSED)
    seen = project.gate_all(models, "-v")

    assert seen.out.index("test_same_top[bad]") < seen.out.index("test_accuracy[bad-drill]")
    assert quality(seen) == numbers


@pytest.mark.parametrize(
    "selection",
    [
        ("-k", "test_termination or test_kl_p99"),
        ("-k", "good and (termination or same_top or classification)"),
        ("-m", "edge"),
    ],
    ids=" ".join,
)
def test_selecting_rows_changes_no_number(
    project: Project, models: Path, numbers: Rows, selection: tuple[str, ...]
) -> None:
    found = quality(project.gate_all(models, *selection))

    assert 0 < len(found) < len(numbers)
    assert found == {row: numbers[row] for row in found}


def test_running_what_failed_again_changes_no_number(
    project: Project, models: Path, numbers: Rows
) -> None:
    project.gate_all(models, "-m", "edge", "-k", "bad")
    shutil.rmtree(project.directory / ".qgate")
    found = quality(project.gate_all(models, "--lf"))

    failing = [row for row in numbers if numbers[row]["verdict"] == "fail"]
    assert list(found) == [row for row in failing if row[1].startswith("edge.")] != []
    assert found == {row: numbers[row] for row in found}


def test_each_model_is_started_once_for_all_rows(project: Project, models: Path) -> None:
    python, count = project.counting_python()
    project.write("limits.yaml", f"{TOY_LIMITS}runtime: {{python: {python}}}\n")
    project.write("conftest.py", REVERSED)
    seen = project.gate_all(models)

    assert len(quality(seen)) == 2 * ROWS
    assert count() == 2 + 1


ATTENTIVE = """
import hashlib
import os
from pathlib import Path

import numpy as np

from qgate.runtimes.fake.adapter import Fake

class Planted(Fake):
    def load(self, settings):
        self._model = Path(settings.path).stem
        return super().load(settings)

    def logits_of_windows(self, windows, first, *, with_hidden):
        if not with_hidden:
            self._note("score", *windows)
        return super().logits_of_windows(windows, first, with_hidden=with_hidden)

    def logits_of_spans(self, spans):
        for span in spans:
            self._note("score_spans", span.ids)
        return super().logits_of_spans(spans)

    def answer(self, prompts, batch_size, progress):
        for prompt in prompts:
            self._note(f"answer {batch_size} {prompt.max_tokens}", prompt.ids)
        return super().answer(prompts, batch_size, progress)

    def stream(self, ids, count):
        self._note("stream", ids)
        return super().stream(ids, count)

    def _note(self, verb, *ids):
        asked = hashlib.sha256(np.concatenate(ids).tobytes()).hexdigest()
        with open(os.environ["QGATE_TEST_QUESTIONS"], "a") as log:
            log.write(f"{self._model}: {verb}: {asked}\\n")
"""


@pytest.fixture
def attentive(project: Project, planted: Callable[[str], str]) -> Callable[..., list[str]]:
    """attentive(models, ...) -> runs quality and latency, and tells what the models were asked."""
    runtime = planted(ATTENTIVE)
    log = project.directory.parent / "questions"

    def gate(models: Path, *arguments: str) -> list[str]:
        log.write_text("")
        seen = project.gate_all(
            models,
            f"--qgate-runtime={runtime}",
            "-m",
            "not memory",
            "-oqgate_confine=off",  # the runtime writes the log
            *arguments,
            PYTHONPATH=os.environ["PYTHONPATH"],
            QGATE_TEST_QUESTIONS=str(log),
        )
        assert seen.code in (0, 1), seen.text
        return log.read_text().splitlines()

    return gate


def test_no_model_is_asked_anything_twice(
    project: Project, tmp_path: Path, attentive: Callable[..., list[str]]
) -> None:
    # all bytes are tokens: of 64, "A" is the token that every text begins with
    toys = {"original": Toy(scheme="F32"), "good": Toy(noise=0.001), "bad": Toy(noise=0.5)}
    whole = {name: dataclasses.replace(toy, vocabulary=256) for name, toy in toys.items()}
    asked = attentive(set_up_all(project, tmp_path / "models", **whole))

    assert {line.split(":")[0] for line in asked} == {"original", "good", "bad"}
    verbs = {line.split()[1].rstrip(":") for line in asked}
    assert verbs == {"score", "score_spans", "answer", "stream"}
    artifacts = [line for line in asked if not line.startswith("original: ")]
    assert [line for line, count in Counter(artifacts).items() if count > 1] == []
    answers = [line for line in asked if line.startswith("original: ") and "stream" not in line]
    assert [line for line, count in Counter(answers).items() if count > 1] == []


def test_the_next_run_asks_for_nothing_but_times(
    models: Path, attentive: Callable[..., list[str]]
) -> None:
    first = attentive(models)
    again = attentive(models)

    assert any(line.startswith("original: score") for line in first)
    assert any(line.startswith("original: answer") for line in first)
    assert any(line.startswith("good: answer") for line in first)
    assert {line.split()[1] for line in again} == {"stream:"}
    times = [line for line in first if line.split()[1] == "stream:"]
    assert Counter(again) == Counter(times)
