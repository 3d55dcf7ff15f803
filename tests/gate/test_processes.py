"""Which runtime serves the reference, and what each child is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.confinement import Tool
from qgate.confinement.view import reach
from qgate.errors import RuntimeUnavailable, UsageError
from qgate.gate.processes import ModelProcesses, RunSettings
from qgate.planning.plan import plan_models
from qgate.runtimes import host as host_module
from qgate.runtimes.confined import bytecode
from qgate.runtimes.confined.starting import Confinement
from qgate.thresholds import EdgeSettings, RuntimeOptions, RuntimeSettings, Thresholds
from tests.conftest import Toy
from tests.support.safetensors_files import write_model

if TYPE_CHECKING:
    from qgate.planning.plan import RunPlan
    from qgate.records import Artifact
    from qgate.runtimes.host import HostSettings

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


# --- what children are started with --------------------------------------------------------------

CONFINED = Confinement(tool=Tool(name="bwrap", path="/usr/bin/bwrap"))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[HostSettings]:
    """The settings of children, none of which is started."""
    found: list[HostSettings] = []
    monkeypatch.setattr(host_module, "Host", lambda settings, _: found.append(settings))
    return found


def start_confined(plan: RunPlan, artifact: Artifact, times: int = 1) -> None:
    progress = lambda _: contextlib.nullcontext(lambda *_: None)  # noqa: E731
    settings = RunSettings(plan=plan, probes=tuple, progress=progress, confinement=CONFINED)
    with contextlib.closing(ModelProcesses(settings)) as processes:
        for _ in range(times):
            processes._start(plan.runtime_of(artifact).name, "a", artifact, is_reference=False)


def test_what_a_runtime_imports_is_compiled_once_a_run(
    models: dict[str, Artifact],
    started: list[HostSettings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Where nothing comes of it, the next child would try again."""
    monkeypatch.chdir(tmp_path)
    tried: list[str] = []
    monkeypatch.setattr(bytecode, "compile_once", lambda python, *_: tried.append(python))

    start_confined(make_plan(models, override="llama_cpp"), models["a"], times=3)

    assert len(started) == 3
    assert len(tried) == 1


def test_a_child_gets_the_variables_of_its_own_runtime(
    models: dict[str, Artifact],
    started: list[HostSettings],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for runtime in ("fake", "openai_server"):
        start_confined(make_plan(models, override=runtime, server=SERVER), models["a"])

    assert [one.variables for one in started] == [(), ("QGATE_OPENAI_KEYFILE",)]


def test_links_of_a_snapshot_lead_to_its_blobs_and_no_further(
    started: list[HostSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also of files that no digest covers: a library may read them."""
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "models--own--tiny" / "snapshots" / "main"
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    write_model(snapshot, {"lm_head.weight": ("BF16", (32, 8))})
    (tmp_path / "secret").touch()
    (blobs / "1").touch()
    (snapshot / "vocab.bpe").symlink_to("../../blobs/1")
    (snapshot / "merges.bpe").symlink_to(tmp_path / "secret")
    (artifact,) = discover([snapshot])
    plan = plan_models([artifact], None, Thresholds(), Path(), runtime="fake")

    start_confined(plan, artifact)

    (settings,) = started
    _, shown = reach(settings.reach.reads)
    assert {str(snapshot), str(blobs / "1")} <= set(shown)
    assert str(tmp_path / "secret") not in shown


def told(serving: Any) -> Any:
    return serving._loading
