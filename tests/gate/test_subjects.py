"""What a run tells of an artifact and the reference beside their rows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tests.conftest import Toy, write_toy
from tests.gate.conftest import PROBES, Begin, Log, Toys, ask_everything, fail, linux_only

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from qgate.records import Artifact


def test_before_anything_is_asked_the_reference_is_not_told_of(toys: Toys, begin: Begin) -> None:
    models = toys(a=Toy())
    with begin(models) as run:
        artifact = run.servings["a"].artifact
        subject = run.measurer.subject(artifact)

    assert subject.digest.startswith("sha256:")
    assert subject.runtime is not None
    assert subject.runtime.name == "fake"
    assert subject.measured == {}
    assert subject.reference == {}


@linux_only
def test_a_subject_has_both_sides_numbers_and_where_time_went(
    toys: Toys, begin: Begin, telling: Callable[..., str]
) -> None:
    with begin(toys(a=Toy(noise=0.1)), runtime=telling()) as run:
        run.measurer.begin(run.servings["a"], frozenset({"latency", "memory"}))
        ask_everything(run, "a")
        subject = run.measurer.subject(run.servings["a"].artifact)

    assert json.loads(json.dumps(dataclasses.asdict(subject)))
    own, reference = subject.measured, subject.reference
    theirs = reference["measured"]
    for name in ("ttft_ms", "itl_ms", "output_tps", "peak_memory_bytes", "weights_bytes"):
        assert own[name] > 0
        assert theirs[name] > 0
    assert own["scored_tokens"] == 6 * 31
    phases = {"load", "memory", "perplexity", *(probe.checks[0] for probe in PROBES)}
    for measured in (own, theirs):
        assert {name for name in measured if name.startswith("time.")} >= {
            f"time.{phase}_s" for phase in phases
        }
    assert "time.latency_s" in own
    assert reference["id"] == "original"
    assert reference["digest"] != subject.digest
    assert reference["perplexity"]["n"] == 6 * 31
    assert reference["store"]["was_stored"] is False


def test_a_reference_that_could_not_be_measured_is_told_of_without_numbers(
    toys: Toys, begin: Begin
) -> None:
    models = toys(a=Toy())
    write_toy(models / "original.gguf", Toy(scheme="F32", fault="nan:score"))

    with begin(models) as run:
        fail(run.measurer.divergence, run.servings["a"])
        reference = run.measurer.subject(run.servings["a"].artifact).reference

    assert reference["id"] == "original"
    assert "perplexity" not in reference
    assert "ttft_ms" not in reference["measured"]


def test_a_files_digest_is_read_once(
    toys: Toys, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qgate import artifacts

    read: list[str] = []
    digest = artifacts.digest

    def note(artifact: Artifact) -> str:
        read.append(artifact.id)
        return digest(artifact)

    monkeypatch.setattr(artifacts, "digest", note)
    with begin(toys(a=Toy())) as run:
        for _ in range(3):
            ask_everything(run, "a")
            run.measurer.subject(run.servings["a"].artifact)

    assert sorted(read) == ["a", "original"]


def test_the_references_child_ends_with_the_run(toys: Toys, begin: Begin, log: Log) -> None:
    with begin(toys(a=Toy())) as run:
        run.measurer.divergence(run.servings["a"])
        reference = run.measurer.children.references["fake"]
        assert reference is not None
        pid = reference.host.pid
        assert log.alive == {"a", "original"}

    assert not Path(f"/proc/{pid}/exe").exists()
    assert log.alive == set()
