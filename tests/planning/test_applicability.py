"""Which limits hold where: not those on what a runtime cannot measure, nor measures truly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.checks import area_of
from qgate.errors import RuntimeUnavailable, ThresholdsError
from qgate.planning.applicability import applicable, limits_of
from qgate.planning.effort import find_effort
from qgate.planning.plan import plan_models
from qgate.records import Artifact, SourceLine
from qgate.runtimes.selection import Choice, Machine, choose
from qgate.thresholds import load_thresholds

if TYPE_CHECKING:
    from qgate.records import Limit
    from qgate.thresholds import Thresholds

ROOT = Path(__file__).resolve().parents[2]
CPU = Machine(has_gpu=False, installed=frozenset({"transformers"}))
GPU = Machine(has_gpu=True, installed=frozenset({"transformers"}))
AREAS = {"perplexity", "divergence", "accuracy", "edge", "latency", "memory"}
OWN = """version: 1
limits:
  latency.tps: {min: 0.5, rule: alarm}
  memory.fits: {ram_gib: 1, context: 512}
"""


MEMORY = frozenset({"memory"})


def artifact(format: str) -> Artifact:
    path = Path("models/llama-4bit")
    return Artifact(
        id=path.name,
        path=path,
        format="gguf" if format == "gguf" else "hf",
        scheme="gptq",
        size_bytes=1,
        files=(path,),
        is_quantized=True,
    )


def held(
    thresholds: Thresholds,
    machine: Machine,
    override: str | None = None,
    *,
    format: str = "hf",
    reference: str | None = None,
) -> dict[str, Limit]:
    """The limits that the artifact is held to."""
    model = artifact(format)
    choice = choose(model, override, machine)
    limits = limits_of(model, thresholds)
    return applicable(limits, model, choice, reference or choice.name)


@pytest.fixture
def shipped() -> Thresholds:
    return load_thresholds(None, ROOT)


@pytest.fixture
def own(tmp_path: Path) -> Thresholds:
    (tmp_path / "own.yaml").write_text(OWN)
    return load_thresholds(tmp_path / "own.yaml", tmp_path)


def areas(limits: dict[str, Limit]) -> set[str]:
    return {area_of(check) for check in limits}


@pytest.mark.parametrize("override", [None, "transformers", "vllm"])
def test_times_and_bytes_of_a_cpu_are_not_held_to_shipped_limits_where_a_gpu_will_serve(
    shipped: Thresholds, override: str | None
) -> None:
    assert areas(held(shipped, CPU, override)) == AREAS - {"latency", "memory"}
    assert areas(held(shipped, GPU, override)) == AREAS


def test_a_limit_of_the_users_own_holds_on_a_stand_in_too(own: Thresholds) -> None:
    found = held(own, CPU)
    assert [check for check in found if area_of(check) in ("latency", "memory")] == [
        "latency.tps",
        "memory.fits",
    ]
    assert found["latency.tps"].min == 0.5


def test_a_file_of_the_users_own_may_have_the_shipped_ones_name(tmp_path: Path) -> None:
    path = tmp_path / "thresholds" / "default.yaml"
    path.parent.mkdir()
    path.write_text(OWN)

    found = held(load_thresholds(path, tmp_path), CPU)

    assert str(found["latency.tps"].source).startswith("thresholds/default.yaml:")
    assert found["latency.tps"].min == 0.5


def test_gguf_on_a_cpu_is_served_as_it_will_be(shipped: Thresholds) -> None:
    assert areas(held(shipped, CPU, format="gguf")) == AREAS


def test_no_shipped_limit_compares_times_or_bytes_of_two_runtimes(
    shipped: Thresholds, own: Thresholds
) -> None:
    apart = held(shipped, CPU, format="gguf", reference="transformers")
    lost = set(held(shipped, CPU, format="gguf")) - set(apart)
    assert lost == {
        "latency.ttft", "latency.itl", "latency.tps", "memory.weights", "memory.peak"
    }  # fmt: skip
    found = held(own, CPU, format="gguf", reference="transformers")
    assert found["latency.tps"].min == 0.5


@pytest.mark.parametrize("runtime", ["fake", "openai_server"])
def test_a_runtime_that_tells_no_memory_is_held_to_no_shipped_limit_on_it(
    shipped: Thresholds, runtime: str
) -> None:
    assert areas(held(shipped, GPU, runtime)) == AREAS - {"memory"}


def test_a_limit_of_the_users_own_that_cannot_be_measured_is_refused(own: Thresholds) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        held(own, GPU, "openai_server")
    assert str(refusal.value) == (
        "own.yaml:4: memory.fits: got a limit for llama-4bit, which 'openai_server' serves;"
        " expected a runtime that measures memory. Remove the limit, or name another runtime"
    )


def test_a_teams_own_row_needs_no_runtime_that_measures_its_area(shipped: Thresholds) -> None:
    model, choice = artifact("gguf"), Choice(name="fake", reason="", unmeasured=MEMORY)
    limit = replace(limits_of(model, shipped)["memory.peak"], source=SourceLine("own.yaml", 3))

    assert "memory.mine" in applicable({"memory.mine": limit}, model, choice, "fake")
    with pytest.raises(ThresholdsError, match="expected a runtime that measures memory"):
        applicable({"memory.peak": limit}, model, choice, "fake")


def test_what_quick_does_not_ask_has_no_shipped_limit_and_one_of_the_users(
    tmp_path: Path,
) -> None:
    (tmp_path / "own.yaml").write_text("version: 1\nlimits: {edge.math: {max_drop: 0.1}}\n")
    quick, standard = (find_effort(name).over for name in ("quick", "standard"))
    rows = {"edge.math", "edge.batch_invariance"}

    for path, over, expected in (
        (None, standard, rows),
        (None, quick, set()),
        (tmp_path / "own.yaml", quick, {"edge.math"}),
    ):
        found = limits_of(artifact("gguf"), load_thresholds(path, tmp_path, over))
        assert rows & found.keys() == expected


def test_where_no_runtime_reads_the_format_every_limit_stands(shipped: Thresholds) -> None:
    plan = plan_models([artifact("gguf")], None, shipped, ROOT, runtime="vllm")
    (found,) = plan.artifacts
    assert isinstance(found.runtime, RuntimeUnavailable)
    # its rows are errors then, and required ones
    assert {area_of(check) for check in found.limits} == AREAS


def test_a_choice_is_no_stand_in_unless_it_says_so(shipped: Thresholds) -> None:
    mine = Choice(name="mine", reason="--qgate-runtime")
    limits = limits_of(artifact("hf"), shipped)
    assert areas(applicable(limits, artifact("hf"), mine, mine.name)) == AREAS
