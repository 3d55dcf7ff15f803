"""A runtime crashes, hangs, leaves or lies: one line on its rows, and the next artifact goes on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CLOSED_PORT, CORE, Outcome, Project, core_limits, set_up_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAULTS = {
    "segfault:load": "broken: runtime crashed: SIGSEGV in load",
    "segfault:score": "broken: runtime crashed: SIGSEGV in score",
    "abort:score": "broken: runtime crashed: SIGABRT in score",
    "exit0:load": "broken: runtime ended in load without a result: exit code 0",
    "exit0:score": "broken: runtime ended in score without a result: exit code 0",
    "hang:load": "broken: runtime hung: no progress in load for 1 s",
    "hang:score": "broken: runtime hung: no progress in score for 1 s",
    "nan:score": "broken: logits are not finite: window 0, position 192",
    "lose:score": "broken: lost samples: got 127 rows of logits; expected 128",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_runtime_is_an_error_of_its_artifact_alone(
    project: Project, toys: Callable[..., Path], fault: str
) -> None:
    project.write("limits.yaml", f"{core_limits()}runtime: {{stall_s: 1}}\n")
    models = toys(broken=Toy(fault=fault), good=Toy(noise=0.001))
    seen = project.gate(models, "--qgate-thresholds=limits.yaml", "-m", "perplexity")

    assert seen.code == 1
    assert seen.report()["verdict"] == "error"
    assert set(seen.verdicts("good").values()) == {"pass"}
    assert set(seen.verdicts("broken").values()) == {"error"}
    message = seen.message("broken", "perplexity.ratio")
    assert message.startswith(FAULTS[fault])
    assert "\n" not in message
    assert message in seen.text
    assert "Traceback" not in seen.text


SPAN_FAULTS = {
    "segfault:score": "broken: runtime crashed: SIGSEGV in score_spans",
    "exit0:score": "broken: runtime ended in score_spans without a result: exit code 0",
    "hang:score": "broken: runtime hung: no progress in score_spans for 1 s",
    "nan:score": "broken: logits are not finite while sequences are scored",
    "lose:score": "broken: lost samples: ",
}


@pytest.mark.parametrize("fault", SPAN_FAULTS)
def test_a_fault_is_an_error_of_every_row_of_accuracy_and_edge_cases(
    project: Project, tmp_path: Path, fault: str
) -> None:
    models = set_up_all(project, tmp_path / "models", broken=Toy(fault=fault))
    (models / "bad.gguf").unlink()
    project.write("limits.yaml", "version: 1\nruntime: {stall_s: 1}\n")
    seen = project.gate_all(models, "-m", "accuracy or edge")

    assert seen.code == 1
    assert set(seen.verdicts("good").values()) == {"pass", "skipped", "incomplete"}
    run = rows_of_answers(seen)
    assert (set(run.values()), len(run)) == ({"error"}, 13)
    assert seen.message("broken", "accuracy.classification").startswith(SPAN_FAULTS[fault])
    assert all("\n" not in seen.message("broken", row) for row in run)
    assert all(seen.message("broken", row) in seen.text for row in run)


def rows_of_answers(seen: Outcome) -> dict[str, str]:
    verdicts = seen.verdicts("broken")
    return {
        row: verdict for row, verdict in verdicts.items() if row.startswith(("accuracy.", "edge."))
    }


NAN_IN_ANSWERS = """
from pathlib import Path

import numpy as np

from qgate.runtimes.fake import Fake

class Planted(Fake):
    is_answering = False

    def load(self, settings):
        self.is_broken = "broken" in Path(settings.path).name
        return super().load(settings)

    def answer(self, prompts, side_by_side, progress):
        self.is_answering = True
        try:
            return super().answer(prompts, side_by_side, progress)
        finally:
            self.is_answering = False

    def logits(self, ids, first):
        found = super().logits(ids, first)
        return found * np.nan if self.is_broken and self.is_answering else found
"""


def test_a_nan_while_answering_is_an_error_of_the_rows_that_need_answers(
    project: Project, tmp_path: Path, planted: Callable[[str], str]
) -> None:
    models = set_up_all(project, tmp_path / "models", broken=Toy(noise=0.001))
    runtime = f"--qgate-runtime={planted(NAN_IN_ANSWERS)}"
    seen = project.gate_all(
        models, runtime, "-m", "accuracy or edge", PYTHONPATH=os.environ["PYTHONPATH"]
    )

    assert seen.code == 1
    assert {"error", "fail"} & set(seen.verdicts("good").values()) == set()
    run = rows_of_answers(seen)
    sound = ("accuracy.classification", "accuracy.next_sentence")
    assert {row: verdict for row, verdict in run.items() if verdict != "error"} == {
        **dict.fromkeys(sound, "skipped"),
        "edge.long_input": "pass",
        "edge.multilingual": "pass",
    }
    asked = {
        "accuracy.code": "item code-0000",
        "edge.math": "item arithmetic-0000",
        "edge.termination": "prompt 1",
        "edge.empty_prompt": "prompt 1",
    }
    for row, first in asked.items():
        said, _, rest = seen.message("broken", row).partition(" (asked at the time: ")
        assert said == "broken: the model's logits are not finite while it generates text"
        assert rest.startswith(f"{first}, after 0 of ")


def test_constant_logits_never_pass(project: Project, toys: Callable[..., Path]) -> None:
    models = toys(broken=Toy(fault="constant:score"), good=Toy(noise=0.001))
    seen = project.gate(models, "-m", "perplexity")

    assert seen.code == 1
    assert set(seen.verdicts("good").values()) == {"pass"}
    verdicts = seen.verdicts("broken")
    assert (set(verdicts.values()), len(verdicts)) == ({"fail"}, 5)


def test_an_absent_runtime_is_an_error_and_not_a_skip(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(broken=Toy(fault="unavailable:load"))
    seen = project.gate(models, "-m", "perplexity")

    assert seen.code == 1
    assert set(seen.verdicts("broken").values()) == {"error"}
    assert "5 errors" in seen.lines[-1]


def test_an_interpreter_that_does_not_exist_is_named(
    project: Project, toys: Callable[..., Path]
) -> None:
    project.write("limits.yaml", "version: 1\nruntime: {python: /no/such/python}\n")
    seen = project.gate(toys(good=Toy()), "--qgate-thresholds=limits.yaml")

    assert seen.code == 4
    assert "limits.yaml:2" in seen.text
    assert "/no/such/python" in seen.text


@pytest.mark.slow
def test_what_mlflow_missed_can_be_sent_again(project: Project, toys: Callable[..., Path]) -> None:
    seen = project.gate(toys(good=Toy(noise=0.001)))
    assert seen.code == 0  # an outage changes no verdict
    assert seen.report()["mlflow"]["uploaded"] is False
    (line,) = [line for line in seen.lines if line.startswith("mlflow: ")]
    command = "python -m qgate upload .qgate/report.json"
    assert line == f"mlflow: not uploaded (Connection refused). Send it again: {command}"

    store = f"sqlite:///{project.directory}/mlflow.db"
    again = project.run([sys.executable, *command.split()[1:]], MLFLOW_TRACKING_URI=store)
    assert again.code == 0, again.text
    section = seen.report()["mlflow"]
    assert (section["uploaded"], section["uri"]) == (True, store)
    assert CLOSED_PORT not in str(section)


@pytest.mark.slow
def test_without_a_server_the_run_goes_into_a_store_of_its_own(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(good=Toy(noise=0.001))
    seen = project.pytest(f"--qgate={models}", "--qgate-runtime=fake", *CORE)

    assert seen.code == 0
    section = seen.report()["mlflow"]
    assert section["uploaded"] is True
    assert section["uri"] == f"sqlite:///{project.directory}/.qgate/mlflow.db"
    assert f"run {section['parent_run_id']}" in seen.text
    assert not (project.directory / "mlruns").exists()
