"""Tasks of lm-eval that a test writes down, loaded, and read with both sides' answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.runtimes.requests import Outcome, Pair
from tests.measure.tasks.lm_eval.conftest import GENERATED
from tests.support.outcomes import make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.runtimes.requests import TokenizerClient

    Write = Callable[..., Path]
    Speak = Callable[[int], TokenizerClient]

SUMS = [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(4)]
QUESTIONS = [
    {"prompt": f"Is {number} odd?", "choices": [" no", " certainly"], "answer": answer}
    for number, answer in enumerate([" no", " certainly", " no", " certainly"])
]


def make(directory: Path, name: str = "made", **settings: Any) -> HarnessTask:
    loaded = load_task(HarnessSettings(name=name, include_path=directory, **settings))
    return HarnessTask(check="accuracy.made", loaded=loaded, min_reference=0)


def read(probe: HarnessTask, speak: Speak, artifact: Outcome, reference: Outcome) -> Any:
    work = probe.work(speak(256))
    return probe.read(Pair(work=work, artifact=artifact, reference=reference))


def chosen(*totals: tuple[float, float]) -> Outcome:
    """A side with these log-likelihoods of the two choices of each question."""
    return make_outcome(nll=[[-total] for pair in totals for total in pair])


GRADES = """
def f1(doc, results):
    said, wanted = set(results[0].split()), set(doc["answer"].split())
    return {"f1": 2 * len(said & wanted) / max(len(said) + len(wanted), 1)}

def corpus(doc, results):
    return {"f1": (doc["answer"], results[0])}

def broken(doc, results):
    doc.clear()
    raise RuntimeError("no\\nway")

def generous(doc, results):
    return {"right": True}

def wrong(doc, results):
    return {"wrong": 1.0 if results[0] and results[0].strip() != doc["answer"] else 0.0}

def mutating(doc, results):
    return {"right": results[0].strip() == doc.pop("answer").strip()}
"""


def graded(write_task: Write, function: str, **metric: Any) -> Path:
    rows = [{"prompt": f"say {number}", "answer": f"a b c {number}"} for number in range(3)]
    told = {"aggregation": "mean", "higher_is_better": True, **metric}
    directory = write_task("made", GENERATED, rows, metric_list=[told])
    (directory / "grades.py").write_text(GRADES)
    with (directory / "made.yaml").open("a") as file:
        file.write(f"\nprocess_results: !function grades.{function}\n")
    return directory
