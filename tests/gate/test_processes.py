"""Which runtime serves the reference, and what each child is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.errors import RuntimeUnavailable, UsageError
from qgate.gate.processes import ModelProcesses, RunSettings
from qgate.planning.plan import plan_models
from qgate.thresholds import EdgeSettings, RuntimeOptions, RuntimeSettings, Thresholds
from tests.conftest import Toy

if TYPE_CHECKING:
    from qgate.planning.plan import RunPlan
    from qgate.records import Artifact

Toys = Callable[..., Path]
SERVER = {"url": "http://127.0.0.1:1/v1", "model": "a"}
THEIRS = {"reference_url": "http://127.0.0.1:2/v1", "reference_model": "b"}


@pytest.fixture
def models(toys: Toys) -> dict[str, Artifact]:
    return {artifact.id: artifact for artifact in discover([toys(a=Toy(context=128))])}


def make_plan(
    models: dict[str, Artifact],
    *,
    override: str | None = None,
    server: dict[str, Any] | None = None,
    **settings: Any,
) -> RunPlan:
    runtimes = {"openai_server": RuntimeOptions(python=None, options=server)} if server else {}
    thresholds = Thresholds(runtimes=runtimes, **settings)
    return plan_models([models["a"]], models["original"], thresholds, Path(), runtime=override)


def children(plan: RunPlan) -> ModelProcesses:
    progress = lambda _: contextlib.nullcontext(lambda *_: None)  # noqa: E731
    return ModelProcesses(RunSettings(plan=plan, probes=tuple, progress=progress))


def test_the_reference_is_served_by_the_artifacts_own_runtime(models: dict[str, Artifact]) -> None:
    fitting, named = make_plan(models), make_plan(models, override="fake")

    assert fitting.reference_runtime_of(models["a"]) == "llama_cpp"
    assert named.reference_runtime_of(models["a"]) == named.reference_runtime_of() == "fake"


def test_the_thresholds_file_may_name_another_one(models: dict[str, Artifact]) -> None:
    found = make_plan(models, runtime=RuntimeSettings(name="llama_cpp", reference="fake"))

    assert found.runtime_of(models["a"]).name == "llama_cpp"
    assert found.reference_runtime_of(models["a"]) == found.reference_runtime_of() == "fake"


def test_a_misspelt_one_is_refused_by_the_key_that_names_it(models: dict[str, Artifact]) -> None:
    found = make_plan(models, runtime=RuntimeSettings(reference="llama_cp"))
    with pytest.raises(UsageError, match=r"^runtime\.reference: unknown runtime: got 'llama_cp'"):
        found.reference_runtime_of()


def test_a_runtime_that_cannot_read_the_artifact_is_an_error_of_its_rows(
    models: dict[str, Artifact],
) -> None:
    found = make_plan(models, override="transformers")
    with pytest.raises(RuntimeUnavailable, match=r"^a: runtime 'transformers' does not read GGUF"):
        children(found).serve(models["a"])


def test_a_server_holds_the_artifact_only_unless_another_holds_the_reference(
    models: dict[str, Artifact],
) -> None:
    alone = make_plan(models, override="openai_server", server=SERVER)
    both = make_plan(models, override="openai_server", server={**SERVER, **THEIRS})

    assert alone.reference_runtime_of(models["a"]) == "llama_cpp"
    assert both.reference_runtime_of(models["a"]) == "openai_server"
    served = children(both)
    assert told(served.serve(models["a"])).options == SERVER
    own = told(served.serve_reference("openai_server")).options
    assert own == {"url": THEIRS["reference_url"], "model": THEIRS["reference_model"]}


def test_the_longest_sequence_of_the_run_ends_at_the_references_context(
    models: dict[str, Artifact],
) -> None:
    short = make_plan(models, edge=EdgeSettings(context_tokens=64), override="fake")
    loading = told(children(short).serve(models["a"]))
    assert (loading.context_tokens, loading.window_tokens) == (256, 256)


def told(serving: Any) -> Any:
    return serving._loading
