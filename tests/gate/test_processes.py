"""Which runtime serves the original, and what each child is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts import discover
from qgate.errors import RuntimeUnavailable, UsageError
from qgate.gate.processes import Children, Setting
from qgate.thresholds import EdgeSettings, RuntimeOptions, RuntimeSettings, Thresholds
from tests.conftest import Toy

if TYPE_CHECKING:
    from qgate.records import Artifact

Toys = Callable[..., Path]
SERVER = {"url": "http://127.0.0.1:1/v1", "model": "a"}
THEIRS = {"reference_url": "http://127.0.0.1:2/v1", "reference_model": "b"}


@pytest.fixture
def models(toys: Toys) -> dict[str, Artifact]:
    return {artifact.id: artifact for artifact in discover([toys(a=Toy(context=128))])}


def children(
    models: dict[str, Artifact],
    *,
    override: str | None = None,
    server: dict[str, Any] | None = None,
    **settings: Any,
) -> Children:
    runtimes = {"openai_server": RuntimeOptions(python=None, options=server)} if server else {}
    return Children(
        Setting(
            thresholds=Thresholds(runtimes=runtimes, **settings),
            original=models["original"],
            runtime=override,
            directory=Path(),
            progress=lambda _: contextlib.nullcontext(lambda *_: None),
        )
    )


def test_the_original_is_served_by_the_artifacts_own_runtime(models: dict[str, Artifact]) -> None:
    assert children(models).choose_for_original(models["a"]) == "llama_cpp"
    assert children(models, override="fake").choose_for_original(models["a"]) == "fake"
    assert children(models, override="fake").choose_for_original() == "fake"


def test_the_thresholds_file_may_name_another_one(models: dict[str, Artifact]) -> None:
    settings = RuntimeSettings(name="llama_cpp", reference="fake")
    found = children(models, runtime=settings)

    assert found.runtime_for(models["a"]) == "llama_cpp"
    assert found.choose_for_original(models["a"]) == found.choose_for_original() == "fake"


def test_a_misspelt_one_is_refused_by_the_key_that_names_it(models: dict[str, Artifact]) -> None:
    found = children(models, runtime=RuntimeSettings(reference="llama_cp"))
    with pytest.raises(UsageError, match=r"^runtime\.reference: unknown runtime: got 'llama_cp'"):
        found.choose_for_original()


def test_a_runtime_that_cannot_read_the_artifact_is_refused(models: dict[str, Artifact]) -> None:
    found = children(models, override="transformers")
    with pytest.raises(RuntimeUnavailable, match=r"^a: runtime 'transformers' does not read GGUF"):
        found.serve(models["a"])


def test_a_server_holds_the_artifact_only_unless_another_holds_the_original(
    models: dict[str, Artifact],
) -> None:
    alone = children(models, override="openai_server", server=SERVER)
    both = children(models, override="openai_server", server={**SERVER, **THEIRS})

    assert alone.choose_for_original(models["a"]) == "llama_cpp"
    assert both.choose_for_original(models["a"]) == "openai_server"
    assert told(both.serve(models["a"])).options == SERVER
    own = told(both.serve_original("openai_server")).options
    assert own == {"url": THEIRS["reference_url"], "model": THEIRS["reference_model"]}


def test_the_longest_sequence_of_the_run_ends_at_the_originals_context(
    models: dict[str, Artifact],
) -> None:
    short = children(models, edge=EdgeSettings(context_tokens=64), override="fake")
    loading = told(short.serve(models["a"]))
    assert (loading.context_tokens, loading.window_tokens) == (256, 256)


def told(serving: Any) -> Any:
    return serving._loading
