"""Nobody pays for another's failure, and an error is remembered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ArtifactError, NotApplicable, RuntimeFailed
from qgate.measure.tasks.items import read_items
from qgate.measure.tasks.task import Task
from tests.conftest import Toy, write_toy
from tests.gate.conftest import CHECKS, Begin, Log, Toys, ask_everything, fail

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.gate.measurer import Measurer
    from qgate.runtimes.served_model import ServedModel


CALLS: dict[str, Callable[[Measurer, ServedModel], object]] = {
    "divergence": lambda measurer, serving: measurer.divergence(serving),
    "probe": lambda measurer, serving: measurer.probe(serving, "edge.multilingual"),
    "latency": lambda measurer, serving: measurer.latency(serving),
    "memory": lambda measurer, serving: measurer.memory(serving),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("fault", ["segfault:load", "segfault:score", "unavailable:load"])
def test_an_error_is_remembered_and_repeated(
    toys: Toys, begin: Begin, log: Log, name: str, fault: str
) -> None:
    with begin(toys(bad=Toy(fault=fault))) as run:
        measurer, serving = run.measurer, run.servings["bad"]
        first = fail(CALLS[name], measurer, serving)
        log.clear()
        again = fail(CALLS[name], measurer, serving)

    assert first == again
    assert log.asked == []
    assert log.started == 0


def test_a_broken_reference_is_every_artifacts_error_and_started_once_more(
    toys: Toys, begin: Begin, log: Log
) -> None:
    models = toys(a=Toy(), b=Toy())
    write_toy(models / "original.gguf", Toy(scheme="F32", fault="segfault:score"))

    with begin(models) as run:
        found = {
            name: [fail(CALLS[what], run.measurer, serving) for what in ("divergence", "probe")]
            for name, serving in run.servings.items()
        }

    assert found["a"] == found["b"]
    for kind, message in found["a"]:
        assert kind is RuntimeFailed
        assert message.startswith("reference original: runtime crashed: SIGSEGV in ")
    assert log.verbs("original").count("score") == 2


def test_an_artifact_that_crashed_spoils_nothing_for_the_next(toys: Toys, begin: Begin) -> None:
    with begin(toys(a=Toy(fault="segfault:score"), b=Toy(noise=0.1))) as run:
        measurer = run.measurer
        for call in (CALLS["divergence"], CALLS["probe"], CALLS["latency"]):
            kind, message = fail(call, measurer, run.servings["a"])
            assert kind is RuntimeFailed
            assert "SIGSEGV" in message
        assert len(ask_everything(run, "b")) == 3 + len(CHECKS)


def test_artifacts_may_be_called_what_they_like(toys: Toys, begin: Begin) -> None:
    names = ("work", "outcome", "reference", "footprint", "memory", "latency")

    with begin(toys(**dict.fromkeys(names, Toy()))) as run:
        kinds = {tuple(type(one).__name__ for one in ask_everything(run, name)) for name in names}

    assert len(kinds) == 1


def test_without_a_reference_every_comparison_says_how_to_name_one(
    toys: Toys, begin: Begin, log: Log
) -> None:
    models = toys(a=Toy())
    (models / "original.gguf").unlink()

    with begin(models) as run:
        lines = {fail(call, run.measurer, run.servings["a"]) for call in CALLS.values()}
        assert run.measurer.subject(run.servings["a"].artifact).reference == {}

    assert lines == {
        (
            ArtifactError,
            "no reference: no unquantized artifact in or beside the given paths."
            " Name one with --qgate-reference PATH",
        )
    }
    assert log.verbs("a") == []


@pytest.mark.parametrize("name", ["divergence", "probe"])
def test_another_tokenizer_is_refused_before_it_is_asked_anything(
    toys: Toys, begin: Begin, log: Log, name: str
) -> None:
    with begin(toys(other=Toy(tokens_from="u"))) as run:
        kind, message = fail(CALLS[name], run.measurer, run.servings["other"])

    assert kind is ArtifactError
    assert message.startswith("other: tokenizer differs from the reference's: ")
    assert message.endswith(
        "Name the right reference with --qgate-reference, or convert the model again"
    )
    assert log.verbs("other") == []


def test_a_task_that_the_reference_does_not_know_is_told_each_time(
    toys: Toys, begin: Begin, log: Log, tmp_path: Path
) -> None:
    items = tmp_path / "items.jsonl"
    rows = [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(20)]
    items.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = Task(check="accuracy.sums", file=read_items(items, "items.jsonl"))

    with begin(toys(a=Toy()), probes=(task,)) as run:
        first, again = (
            fail(run.measurer.probe, run.servings["a"], "accuracy.sums") for _ in range(2)
        )

    assert first == again
    assert first[0] is NotApplicable
    assert log.verbs("original").count("answer") == 1
    assert "answer" not in log.verbs("a")
