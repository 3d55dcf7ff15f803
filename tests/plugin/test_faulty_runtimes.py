"""A runtime crashes, hangs, leaves or lies: one line on its rows, and the next artifact goes on."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import (
    CLOSED_PORT,
    Outcome,
    Project,
    core_limits,
    script,
    set_up_all,
    sound,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FAULTS = {
    "segfault:load": "broken: runtime crashed: SIGSEGV in load",
    "hang:score": "broken: runtime hung: no progress in score for 1 s",
    "nan:score": "broken: logits are not finite: window 0, position 128",
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
    assert seen.verdicts("good") == sound(seen.verdicts("good"))
    assert set(seen.verdicts("broken").values()) == {"error"}
    message = seen.message("broken", "perplexity.ratio")
    assert message.startswith(FAULTS[fault])
    assert "\n" not in message
    assert message in seen.text
    assert "Traceback" not in seen.text


SPAN_FAULTS = {
    "exit0:score": "broken: runtime ended in score_spans without a result: exit code 0",
    "nan:score": "broken: logits are not finite while sequences are scored",
}


OWN = """version: 1
runtime: {stall_s: 1}
edge: {prompts: 48}
tasks:
  own: {file: own.jsonl, min_reference: 0, max_drop: 0.1, rule: alarm}
  told: {file: told.jsonl, max_tokens: 4, min_reference: 0, max_drop: 0.1, rule: alarm}
"""
CAN = (
    *("accuracy.own", "accuracy.told", "edge.repetition", "edge.termination"),
    *("edge.answer_length", "edge.batch_invariance"),
)
"""Of all rows of accuracy and edge cases those that a reference of this kind has something to lose
in, of 48 free answers: each of the first 32 is a loop. What it cannot do is asked of no artifact.
"""
FATAL = ("exit0:score",)
"""After these no child is left that could say how many tokens a text has."""


def set_up_own(project: Project, directory: Path, broken: Toy) -> Path:
    """The reference, a good and a broken artifact; tasks that are asked whatever is answered."""
    models = set_up_all(project, directory, broken=broken)
    (models / "bad.gguf").unlink()
    project.write("limits.yaml", OWN)
    items = [{"prompt": f"Is {number} a number?", "answer": "yes"} for number in range(400)]
    choosing = [{**item, "choices": ["yes", "no"]} for item in items]
    for name, task in (("own", choosing), ("told", items)):
        project.write(f"{name}.jsonl", "".join(f"{json.dumps(item)}\n" for item in task))
    return models


@pytest.mark.parametrize("fault", SPAN_FAULTS)
def test_a_fault_is_an_error_of_every_row_of_accuracy_and_edge_cases(
    project: Project, tmp_path: Path, fault: str
) -> None:
    models = set_up_own(project, tmp_path / "models", Toy(fault=fault))
    seen = project.gate_all(models, "-m", "accuracy or edge")

    assert seen.code == 1
    assert [row for row, verdict in rows_of_answers(seen, "good").items() if verdict == "pass"] == [
        *CAN
    ]
    run = rows_of_answers(seen, "broken")
    failed = {row for row, verdict in run.items() if verdict == "error"}
    assert len(run) == 7 + 2 + 9
    assert failed >= {*CAN}
    assert {run[row] for row in run if row not in failed} == {"skipped"}
    assert len(failed) == (11 if fault in FATAL else 7)
    assert seen.message("broken", "accuracy.own").startswith(SPAN_FAULTS[fault])
    assert all("\n" not in seen.message("broken", row) for row in run)
    assert all(seen.message("broken", row) in seen.text for row in run)


def rows_of_answers(seen: Outcome, artifact: str) -> dict[str, str]:
    verdicts = seen.verdicts(artifact)
    return {
        row: verdict for row, verdict in verdicts.items() if row.startswith(("accuracy.", "edge."))
    }


NAN_IN_ANSWERS = """
from pathlib import Path

import numpy as np

from qgate.runtimes.fake.adapter import Fake

class Planted(Fake):
    is_answering = False

    def load(self, settings):
        self.is_broken = "broken" in Path(settings.path).name
        return super().load(settings)

    def answer(self, prompts, batch_size, progress):
        self.is_answering = True
        try:
            return super().answer(prompts, batch_size, progress)
        finally:
            self.is_answering = False

    def logits(self, ids, first):
        found = super().logits(ids, first)
        return found * np.nan if self.is_broken and self.is_answering else found
"""


def test_a_nan_while_answering_is_an_error_of_the_rows_that_need_answers(
    project: Project, tmp_path: Path, planted: Callable[[str], str]
) -> None:
    models = set_up_own(project, tmp_path / "models", Toy(noise=0.001))
    runtime = f"--qgate-runtime={planted(NAN_IN_ANSWERS)}"
    seen = project.gate_all(
        models, runtime, "-m", "accuracy or edge", PYTHONPATH=os.environ["PYTHONPATH"]
    )

    assert seen.code == 1
    good, run = rows_of_answers(seen, "good"), rows_of_answers(seen, "broken")
    assert [row for row, verdict in good.items() if verdict == "pass"] == [*CAN]
    assert run["accuracy.own"] == "pass"  # its choices are scored
    failed = [row for row, verdict in run.items() if verdict == "error"]
    assert failed == [*CAN[1:], "edge.empty_prompt"]
    assert {run[row] for row in run if row not in (*failed, "accuracy.own")} == {"skipped"}
    asked = {
        "accuracy.told": "item ",
        "edge.termination": "prompt 1, after 0 of ",
        "edge.empty_prompt": "prompt 1, after 0 of ",
    }
    for row, first in asked.items():
        said, _, rest = seen.message("broken", row).partition(" (asked at the time: ")
        assert said == "broken: the model's logits are not finite while it generates text"
        assert rest.startswith(first)


CRASHES_ONCE = """
import os
import signal
from pathlib import Path

from qgate.runtimes.fake.adapter import Fake

class Planted(Fake):
    def load(self, settings):
        self.is_reference = "original" in Path(settings.path).name
        return super().load(settings)

    def sample(self, sampling, progress):
        crash = Path(__file__).with_name("crash")
        if self.is_reference and not crash.exists():
            crash.touch()
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().sample(sampling, progress)
"""


def test_one_crash_of_the_reference_costs_no_row(
    project: Project, toys: Callable[..., Path], planted: Callable[[str], str]
) -> None:
    runtime = f"--qgate-runtime={planted(CRASHES_ONCE)}"
    seen = project.gate(
        toys(good=Toy(noise=0.001)),
        runtime,
        *("-m", "perplexity"),
        "-oqgate_confine=off",  # it notes outside of the child that it has crashed
        PYTHONPATH=os.environ["PYTHONPATH"],
    )

    assert (seen.code, seen.verdicts("good")) == (0, sound(seen.verdicts("good")))
    assert (project.directory.parent / "plugins" / "crash").exists()


def test_constant_logits_never_pass(project: Project, toys: Callable[..., Path]) -> None:
    models = toys(broken=Toy(fault="constant:score"), good=Toy(noise=0.001))
    seen = project.gate(models, "-m", "perplexity")

    assert seen.code == 1
    assert seen.verdicts("good") == sound(seen.verdicts("good"))
    verdicts = seen.verdicts("broken")
    assert verdicts.pop("perplexity.increase") == "skipped"  # shown, not judged, of this text
    assert (set(verdicts.values()), len(verdicts)) == ({"fail"}, 4)


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
    (own,) = seen.own_reports()
    command = f"qgate upload .qgate/reports/{own.name}"
    assert line == f"mlflow: not uploaded (Connection refused). Send it again: {command}"

    store = f"sqlite:///{project.directory}/mlflow.db"
    again = project.run([script("qgate"), *command.split()[1:]], MLFLOW_TRACKING_URI=store)
    assert again.code == 0, again.text
    section = seen.report()["mlflow"]
    assert (section["uploaded"], section["uri"]) == (True, store)
    assert CLOSED_PORT not in str(section)
