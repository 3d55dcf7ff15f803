"""A task of lm-eval, measured as the gate does: both models in their children, one work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts import discover
from qgate.demo.__main__ import model_directory
from qgate.gate.measurer import Measurer
from qgate.gate.processes import RunSettings
from qgate.gate.row import judge_row
from qgate.measure.looks import InterimResult
from qgate.measure.tasks.items import read_items
from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.lm_eval.settings import HarnessSettings
from qgate.measure.tasks.lm_eval.tasks import load_task
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.task import Task
from qgate.planning.plan import plan_models
from qgate.records import Limit, SourceLine, Verdict
from qgate.thresholds import Thresholds
from qgate.thresholds.model import Layer
from tests.conftest import ROOT
from tests.measure.tasks.lm_eval.conftest import CHOICES, GENERATED
from tests.support.references import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.runtimes.served_model import ServedModel

pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")
COUNT = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's reference, and what its ruin is: Q2_K in every matrix."""
    from qgate.demo.formats.gguf_convert import convert
    from qgate.demo.formats.gguf_quantize import quantize

    directory = tmp_path_factory.mktemp("models")
    convert(model_directory(), directory / "original.gguf")
    quantize(directory / "original.gguf", directory / "ruined.gguf", scheme="Q2_K", is_pure=True)
    return directory


@contextlib.contextmanager
def measurer(
    directory: Path, store: Path, *probes: Probe, limits: Sequence[Limit] = ()
) -> Iterator[tuple[Measurer, ServedModel]]:
    found = {artifact.path.stem: artifact for artifact in discover([directory])}
    layer = Layer(scope="all", limits={limit.check: limit for limit in limits})
    thresholds = Thresholds(text=SETTINGS, layers=(layer,))
    settings = RunSettings(
        plan=plan_models([found["ruined"]], found["original"], thresholds, store),
        probes=lambda: probes,
        progress=lambda subject: contextlib.nullcontext(lambda what, done, total: None),
    )
    made = Measurer(settings)
    serving = made.children.serve(found["ruined"])
    try:
        yield made, serving
    finally:
        serving.close()
        made.children.close()


def rows_of(name: str) -> list[dict[str, Any]]:
    lines = (ROOT / "thresholds" / "tasks" / f"{name}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_ruined_artifact_loses_what_its_reference_can(
    models: Path, tmp_path: Path, write_task: Callable[..., Path]
) -> None:
    directory = write_task("sums", GENERATED, rows_of("arithmetic"))
    settings = HarnessSettings(name="sums", include_path=directory, max_samples=COUNT)
    probe = HarnessTask(check="accuracy.sums", loaded=load_task(settings), min_reference=0)

    with measurer(models, tmp_path / "store", probe) as (found, serving):
        rows = found.probe(serving, "accuracy.sums")
    with measurer(models, tmp_path / "store", probe) as (found, serving):
        again = found.probe(serving, "accuracy.sums")  # the reference's answers from the store

    assert isinstance(rows, PairedAnswers)
    assert isinstance(again, PairedAnswers)
    assert rows.reference.mean() > 0.7
    assert rows.artifact.mean() < rows.reference.mean() - 0.2
    details = rows.details("accuracy.sums")
    assert details["lost"] > details["gained"]
    assert details["asked"] == COUNT
    json.dumps(details)
    assert np.array_equal(again.reference, rows.reference)
    assert np.array_equal(again.artifact, rows.artifact)


def test_docs_are_asked_in_parts_until_a_limit_is_decided(
    models: Path, tmp_path: Path, write_task: Callable[..., Path]
) -> None:
    directory = write_task("sums", GENERATED, rows_of("arithmetic"))
    loaded = load_task(HarnessSettings(name="sums", include_path=directory))
    whole = HarnessTask(check="accuracy.sums", loaded=loaded, min_reference=0)
    staged = dataclasses.replace(whole, check="accuracy.staged", is_sequential=True)
    limit = Limit(check=staged.check, rule="certify", min=-0.05, source=SourceLine("team.yaml", 1))

    with measurer(models, tmp_path / "store", whole, staged, limits=[limit]) as (found, serving):
        answers = found.probe(serving, whole.check)
        looked = found.probe(serving, staged.check)

    assert isinstance(answers, PairedAnswers)
    assert isinstance(looked, InterimResult)
    assert judge_row(staged.check, limit, looked).verdict is Verdict.FAIL
    seen = looked.measured
    assert isinstance(seen, PairedAnswers)
    assert len(seen.artifact) == looked.looks.n < len(answers.artifact)
    for own, all_of_them in (
        (seen.artifact_texts, answers.artifact_texts),
        (seen.reference_texts, answers.reference_texts),
        (seen.expected, answers.expected),
    ):
        by_prompt = dict(zip(answers.prompts, all_of_them, strict=True))
        assert own == tuple(by_prompt[prompt] for prompt in seen.prompts)


def test_choices_are_graded_as_by_the_gates_own_task(
    models: Path, tmp_path: Path, write_task: Callable[..., Path]
) -> None:
    """The same items; of every second one the right answer is said to be another."""
    rows = [
        {**row, "answer": row["choices"][0] if number % 2 else row["answer"]}
        for number, row in enumerate(rows_of("classification")[:COUNT])
    ]
    directory = write_task("kinds", CHOICES, rows)
    loaded = load_task(HarnessSettings(name="kinds", include_path=directory))
    own = Task(check="accuracy.own", file=read_items(directory / "kinds.jsonl", "kinds.jsonl"))
    probe = HarnessTask(check="accuracy.kinds", loaded=loaded, min_reference=0)

    with measurer(models, tmp_path / "store", probe, own) as (found, serving):
        graded, wanted = (
            found.probe(serving, check) for check in ("accuracy.kinds", "accuracy.own")
        )

    assert isinstance(graded, PairedAnswers)
    assert isinstance(wanted, PairedAnswers)
    assert 0 < wanted.reference.sum() < COUNT
    assert np.array_equal(graded.reference, wanted.reference)
    assert np.array_equal(graded.artifact, wanted.artifact)
    assert graded.artifact_texts == wanted.artifact_texts
    assert graded.expected == wanted.expected
