"""What an artifact answered in an earlier run is not asked again, and only that."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import ArtifactError, RuntimeFailed
from qgate.runtimes import host as host_module
from tests.conftest import Toy, write_toy
from tests.gate.conftest import CHECKS, THRESHOLDS, Begin, Log, Run, Toys
from tests.support.references import entries

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.thresholds import Thresholds

WORK = {"load", "encode", "score", "score_spans", "answer"}


def ask(run: Run, name: str = "a") -> list[Any]:
    """Everything that is kept of an artifact."""
    serving = run.servings[name]
    measured = [
        run.measurer.divergence(serving),
        *(run.measurer.probe(serving, one) for one in CHECKS),
    ]
    return [values(one) for one in measured]


def values(measured: Any) -> Any:
    """The samples, comparable, without the seconds that they took."""
    if hasattr(measured, "samples"):
        return measured.samples.nll_nats.tobytes(), measured.samples.kl_nats.tobytes()
    return repr(measured)


def asked(log: Log, model: str = "a") -> set[str]:
    return {verb for verb in log.verbs(model) if verb in WORK}


def test_a_second_run_loads_nothing_and_says_the_same(toys: Toys, begin: Begin, log: Log) -> None:
    models = toys(a=Toy(noise=0.1))
    with begin(models) as run:
        first = ask(run)
        told = run.measurer.subject(run.servings["a"].artifact)
    assert asked(log) == WORK
    log.clear()

    with begin(models) as run:
        again = ask(run)
        told_again = run.measurer.subject(run.servings["a"].artifact)

    assert again == first
    assert {verb for _, verb in log.asked} == {"describe"}
    assert told.from_store == {
        "likelihoods": {"asked": 2, "from_store": 0},
        "answers": {"asked": 3, "from_store": 0},
    }
    since = told_again.from_store["measured_at"]
    assert told_again.from_store == {
        "measured_at": since,
        "likelihoods": {"asked": 2, "from_store": 2},
        "answers": {"asked": 3, "from_store": 3},
    }
    assert since[:2] == "20"
    assert told_again.digest == told.digest
    assert told_again.runtime == told.runtime


def test_times_and_memory_are_measured_anew(toys: Toys, begin: Begin, log: Log) -> None:
    models = toys(a=Toy())
    with begin(models) as run:
        run.measurer.latency(run.servings["a"])
    log.clear()

    with begin(models) as run:
        run.measurer.latency(run.servings["a"])

    assert log.verbs("a").count("time") == log.verbs("original").count("time") > 0
    assert "load" in log.verbs("a")


def rewrite(models: Path) -> None:
    write_toy(models / "a.gguf", Toy(noise=0.2))


def more_threads(thresholds: Thresholds) -> Thresholds:
    return dataclasses.replace(
        thresholds, runtime=thresholds.runtime.model_copy(update={"threads": 2})
    )


def test_other_bytes_are_asked_again(toys: Toys, begin: Begin, log: Log) -> None:
    models = toys(a=Toy(noise=0.1))
    with begin(models) as run:
        first = ask(run)
    rewrite(models)
    log.clear()

    with begin(models) as run:
        again = ask(run)

    assert again[0] != first[0]
    assert asked(log) == WORK


def test_other_threads_are_asked_again_and_other_latency_is_not(
    toys: Toys, begin: Begin, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = toys(a=Toy(noise=0.1))
    with begin(models) as run:
        ask(run)
    longer = THRESHOLDS.latency.model_copy(update={"prompt_tokens": 100})
    for thresholds, is_asked in (
        (dataclasses.replace(THRESHOLDS, latency=longer), False),
        (more_threads(THRESHOLDS), True),
    ):
        log.clear()
        monkeypatch.setattr("tests.gate.conftest.THRESHOLDS", thresholds)
        with begin(models) as run:
            ask(run)
        assert bool(asked(log)) == is_asked


def test_an_artifact_that_runs_code_is_always_asked(
    toys: Toys, begin: Begin, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = toys(a=Toy())
    for _ in range(2):
        log.clear()
        with begin(models) as run:
            artifact = dataclasses.replace(run.servings["a"].artifact, runs_code=True)
            run.servings["a"] = run.measurer.children.serve(artifact)
            ask(run)
        assert asked(log) == WORK


def test_a_run_that_is_cut_short_goes_on_behind_the_last_answer(
    toys: Toys, begin: Begin, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = toys(a=Toy(noise=0.1))
    watched: Any = host_module.Host
    reference_call: Callable[..., dict[str, Any]] = watched.call

    def interrupted(self: Any, verb: str, request: object) -> Any:
        if verb == "answer" and self.model == "a" and "answer" in log.verbs("a"):
            raise KeyboardInterrupt
        return reference_call(self, verb, request)

    monkeypatch.setattr(watched, "call", interrupted)
    with begin(models) as run, pytest.raises(KeyboardInterrupt):
        ask(run)
    monkeypatch.setattr(watched, "call", reference_call)
    log.clear()

    with begin(models) as run:
        ask(run)

    assert asked(log) == {"load", "answer"}
    assert log.verbs("a").count("answer") == 2  # of three: what was answered stays answered


def test_an_answer_that_was_refused_is_not_kept(toys: Toys, begin: Begin, tmp_path: Path) -> None:
    models = toys(a=Toy(fault="exit0:score"))
    for _ in range(2):
        with begin(models) as run, pytest.raises(RuntimeFailed):
            run.measurer.divergence(run.servings["a"])
    kinds = [
        json.loads((tmp_path / ".qgate" / "references" / name / "entry.json").read_text())
        for name in entries(tmp_path / ".qgate" / "references")
    ]
    assert "score" not in [entry["key_made_of"].get("kind") for entry in kinds]


def test_files_that_change_while_they_are_measured_are_not_believed(
    toys: Toys, begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = toys(a=Toy(noise=0.1))
    write_toy(tmp_path / "other.gguf", Toy(noise=0.9))
    watched: Any = host_module.Host
    reference_call: Callable[..., dict[str, Any]] = watched.call

    def replacing(self: Any, verb: str, request: Any) -> Any:
        if verb == "load" and self.model == "" and request.path.endswith("a.gguf"):
            (tmp_path / "other.gguf").replace(models / "a.gguf")
        return reference_call(self, verb, request)

    monkeypatch.setattr(watched, "call", replacing)

    with begin(models) as run, pytest.raises(ArtifactError) as caught:
        run.measurer.divergence(run.servings["a"])

    assert str(caught.value) == (
        "a: its files changed while it was measured; expected the same files from the first row to"
        " the last. Run again when nobody writes to them"
    )
