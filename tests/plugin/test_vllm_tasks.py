"""Tasks by lm-eval's names through the child that serves a model in vLLM."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.requests import Outcome, Pair, TokenizerClient, perform
from tests.plugin.conftest import CLOSED_PORT
from tests.plugin.lm_eval_tasks import FEW, KNOWN, METRICS, rows_of, settings_of, write_tasks
from tests.support.children import load
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from qgate.measure.tasks.lm_eval.plan import HarnessWork
    from tests.plugin.conftest import Project

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
SAME_NATS = 1e-3
"""Both runtimes compute in 32 bits here, each in its own order: so near, they may disagree."""


def test_tasks_of_lm_eval_are_answered_by_vllms_child_and_nothing_flips(
    project: Project, tmp_path: Path
) -> None:
    reference, copy = tmp_path / "original", tmp_path / "copy"
    for directory in (reference, copy):
        shutil.copytree(model_directory(), directory)
    limits = write_tasks(project.directory, f"runtimes: {{vllm: {{python: {python_with_vllm()}}}}}")
    seen = project.pytest(
        f"--qgate={copy}",
        f"--qgate-reference={reference}",
        f"--qgate-thresholds={limits}",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        "-m",
        "accuracy",
        HF_HUB_OFFLINE="1",
    )

    rows = rows_of(seen)
    assert seen.code == 0, seen.text
    assert list(rows) == list(METRICS)
    for name, row in rows.items():
        details = row["details"]
        assert (row["verdict"], row["n"]) == ("pass", FEW), row["message"]
        assert (details["task"], details["lost"], details["gained"]) == (name, 0, 0)
        assert details.get("length_ratio", 1.0) == 1.0
    assert rows[KNOWN]["details"]["reference_share"] > 0.9
    (artifact,) = seen.report()["artifacts"]
    assert artifact["runtime"]["name"] == "vllm"
    assert artifact["compared_with"] == {"runtime": "vllm"}


class Side:
    """A child that holds the demo's model."""

    def __init__(self, host: Host) -> None:
        facts = load(host, model_directory())
        self._host, self._ends = host, facts.end_tokens
        self.tokenizer = TokenizerClient(host, facts.context_length, facts.first_token)

    def ask(self, work: HarnessWork) -> Outcome:
        return perform(work, self._host, self._ends)


@pytest.fixture(scope="module")
def sides() -> Iterator[dict[str, Side]]:
    """The same model in transformers and in vLLM."""
    pytest.importorskip("transformers", reason="needs the Hugging Face runtime")
    with (
        Host(HostSettings(runtime="transformers")) as one,
        Host(HostSettings(runtime="vllm", python=python_with_vllm())) as other,
    ):
        yield {"transformers": Side(one), "vllm": Side(other)}


@pytest.mark.parametrize("name", METRICS)
def test_vllm_answers_each_item_as_transformers_does_but_for_ties(
    sides: dict[str, Side], tmp_path: Path, name: str
) -> None:
    """The very same work, likelihoods within `SAME_NATS`, the same tokens up to the first tie.

    Results, item by item, are the same where nothing was decided by less than that.
    """
    write_tasks(tmp_path, "")
    loaded = load_task(settings_of(name, tmp_path))
    probe = HarnessTask(check=f"accuracy.{name}", loaded=loaded, min_reference=0)
    works = {runtime: probe.work(side.tokenizer) for runtime, side in sides.items()}
    work = works["transformers"]
    assert work.digest() == works["vllm"].digest()
    wanted, found = (sides[runtime].ask(work) for runtime in ("transformers", "vllm"))

    for theirs, own in zip(wanted.nll_nats, found.nll_nats, strict=True):
        assert own == pytest.approx(theirs, abs=SAME_NATS)
    assert_same_up_to_ties(wanted, found)
    is_tie = ties_of_choices(probe, wanted) | ties_of_answers(wanted)
    read = probe.read(Pair(work=work, reference=wanted, artifact=found))
    assert isinstance(read, PairedAnswers)
    assert is_tie.sum() <= FEW // 4
    assert np.array_equal(read.artifact[~is_tie], read.reference[~is_tie])
    assert np.array_equal(
        np.array(read.artifact_texts)[~is_tie], np.array(read.reference_texts)[~is_tie]
    )
    if name == KNOWN:
        assert read.reference.mean() > 0.9


def ties_of_choices(probe: HarnessTask, outcome: Outcome) -> np.ndarray:
    """Items of which the two likeliest choices are as good as equal."""
    totals = [-nll.sum() for nll in outcome.nll_nats]
    found = np.zeros(FEW, dtype=bool)
    for number, item in enumerate(probe.loaded.items):
        if item.n_choices:
            *_, second, first = sorted(totals[place] for place in item.places)
            found[number] = first - second < SAME_NATS
    return found


def ties_of_answers(outcome: Outcome) -> np.ndarray:
    """Items of which some token of the answer was hardly ahead of the next best."""
    if not outcome.answers:
        return np.zeros(FEW, dtype=bool)
    (answers,) = outcome.answers
    return np.array([one.min(initial=np.inf) < SAME_NATS for one in answers.margins_nats])


def assert_same_up_to_ties(wanted: Outcome, found: Outcome) -> None:
    for theirs, own in zip(wanted.answers, found.answers, strict=True):
        for number, margins in enumerate(theirs.margins_nats):
            told = [[*one.ids[number], one.ends[number]] for one in (theirs, own)]
            sure = int(np.argmax(np.append(margins, 0.0) < SAME_NATS))
            assert told[1][:sure] == told[0][:sure]
