"""A prompt kills the runtime or has it hang: the row is void and says what was being asked."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Toy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

ITEMS, PART = 160, 40
"""Of each task, and of its first part: there are four looks."""
ORDER = random.Random(0).sample(range(ITEMS), ITEMS)
"""In which items are asked: always the same."""
BATCH_SIZE = 16
POISONED = ORDER[BATCH_SIZE + 4]
STALL_S = 2
LIMITS = f"""
version: 1
inherit: none
runtime: {{stall_s: {STALL_S}}}
tasks:
  before: {{file: before.jsonl, max_tokens: 4, min_reference: 0, max_drop: 0.5, rule: alarm}}
  poison: {{file: poison.jsonl, max_tokens: 4, min_reference: 0, max_drop: 0.5, rule: alarm}}
  behind: {{file: behind.jsonl, max_tokens: 4, min_reference: 0, max_drop: 0.5, rule: alarm}}
"""
RUNTIME = """
import os, signal, time
from pathlib import Path

from qgate.runtimes.fake.adapter import Fake

POISON = bytes(ord(letter) % 64 for letter in "poison")

class Planted(Fake):
    def load(self, settings):
        self.is_victim = Path(settings.path).stem == {victim!r}
        return super().load(settings)

    def answer(self, prompts, batch_size, progress):
        answers = []
        for start in range(0, len(prompts), batch_size):
            group = prompts[start : start + batch_size]
            progress("answering", start, len(prompts), (start, start + len(group)))
            progress("answering", 3, 500)  # tokens, as llama_cpp tells beside
            self.read(group)
            answers += [self._answer(prompt) for prompt in group]
        return answers

    def logits_of_spans(self, spans):
        self.read(spans)
        return super().logits_of_spans(spans)

    def read(self, pieces):
        if self.is_victim and any(POISON in bytes(piece.ids.tolist()) for piece in pieces):
            {fault}
"""
CRASH, HANG = "os.kill(os.getpid(), signal.SIGSEGV)", "time.sleep(3600)"
RAISE = "raise KeyError('slot 7')"
GROUP = [f"item q{number}" for number in ORDER[BATCH_SIZE : 2 * BATCH_SIZE]]
ASKED = (
    f"(asked at the time: {', '.join(GROUP[:3])} and {BATCH_SIZE - 3} more,"
    f" after {BATCH_SIZE} of {PART} prompts)"
)

Gate = Callable[..., "Outcome"]


def write_items(project: Project, more: dict[str, Any]) -> None:
    """Three tasks, no prompt twice; one item of the second is poison."""
    for name in ("before", "poison", "behind"):
        items = [
            {"id": f"q{number}", "prompt": f"sweet {name[:3]} {number}", "answer": "7", **more}
            for number in range(ITEMS)
        ]
        if name == "poison":
            items[POISONED]["prompt"] = f"poison {POISONED}"
        text = "".join(f"{json.dumps(item)}\n" for item in items)
        project.write(f"{name}.jsonl", text)


@pytest.fixture
def gate(project: Project, toys: Callable[..., Path], planted: Callable[[str], str]) -> Gate:
    """gate(fault, victim="broken", **more of each item): a run of three tasks on two artifacts."""

    def run(fault: str, victim: str = "broken", **more: Any) -> Outcome:
        write_items(project, more)
        project.write("limits.yaml", LIMITS)
        runtime = planted(RUNTIME.format(victim=victim, fault=fault))
        models = toys(broken=Toy(noise=0.001), good=Toy(noise=0.002))
        options = ("--qgate-thresholds=limits.yaml", f"--qgate-runtime={runtime}")
        path = os.environ["PYTHONPATH"]
        return project.gate_all(models, *options, "-m", "accuracy", PYTHONPATH=path)

    return run


def row(seen: Outcome, artifact: str, check: str) -> dict[str, Any]:
    rows = {entry["id"]: entry["checks"] for entry in seen.report()["artifacts"]}
    return next(dict(found) for found in rows[artifact] if found["name"] == check)


FAULTS = {
    CRASH: "runtime crashed: SIGSEGV in answer",
    HANG: f"runtime hung: no progress in answer for {STALL_S} s",
}


@pytest.mark.parametrize("fault", FAULTS, ids=["crash", "hang"])
def test_a_prompt_that_ends_the_runtime_is_named_with_those_beside_it(
    gate: Gate, fault: str
) -> None:
    seen = gate(fault)

    assert seen.code == 1
    found = row(seen, "broken", "accuracy.poison")
    assert found["verdict"] == "error"
    assert found["message"] == f"broken: {FAULTS[fault]} {ASKED}"
    assert found["message"] in seen.text
    assert found["details"] == {"asked_when_failed": GROUP, "done": BATCH_SIZE, "total": PART}
    assert f"item q{POISONED}" in GROUP
    # rows before it and other artifacts are as if nothing were; one after it accuses no prompt
    assert set(seen.verdicts("good").values()) == {"pass"}
    assert seen.verdicts("broken")["accuracy.before"] == "pass"
    after = row(seen, "broken", "accuracy.behind")
    assert (after["verdict"], after["details"]) == ("error", {})
    assert after["message"].startswith(f"broken: {FAULTS[fault].partition(' in ')[0]}")
    assert "asked" not in after["message"]


def test_an_exception_of_the_runtime_names_the_prompts_too(gate: Gate) -> None:
    seen = gate(RAISE)

    found = row(seen, "broken", "accuracy.poison")
    assert found["message"].startswith("broken: KeyError in answer: 'slot 7'; last words: ")
    assert found["message"].endswith(f" {ASKED}")
    assert seen.verdicts("broken")["accuracy.behind"] == "pass"  # the child lives


def test_a_crash_while_choices_are_scored_names_their_items_once(gate: Gate) -> None:
    seen = gate(CRASH, choices=["7", "8"])

    found = row(seen, "broken", "accuracy.poison")
    asked = found["details"]["asked_when_failed"]
    assert found["message"].startswith("broken: runtime crashed: SIGSEGV in score_spans (asked at")
    assert found["message"].endswith(f"{found['details']['done']} of {2 * PART} sequences)")
    assert f"item q{POISONED}" in asked
    assert len(set(asked)) == len(asked) < PART


def test_a_prompt_that_kills_the_reference_is_named_as_the_references(gate: Gate) -> None:
    seen = gate(CRASH, victim="original")

    for artifact in ("broken", "good"):
        found = row(seen, artifact, "accuracy.poison")
        assert found["message"] == (
            f"{artifact}: reference original: runtime crashed: SIGSEGV in answer (started again"
            f" after: runtime crashed: SIGSEGV in answer) {ASKED}"
        )
        assert found["details"]["asked_when_failed"] == GROUP
