"""A Hugging Face directory through vLLM, and the same model in two runtimes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import qgate
from tests.plugin.conftest import CLOSED_PORT, new_project
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from tests.plugin.conftest import Outcome, Project

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

MODEL = Path(qgate.__file__).parent / "demo" / "model"
QUICK = """
version: 1
text: {source: generated, windows: 16, window_tokens: 256}
tasks:
  {everyday: off, grammar: off, stories: off, classification: off, next_sentence: off, code: off}
"""
SAME = {"perplexity.ratio", "divergence.kl_mean", "divergence.same_top"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("served") / "models"
    shutil.copytree(MODEL, directory / "original")
    shutil.copytree(MODEL, directory / "copy")
    return directory


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return new_project(tmp_path_factory.mktemp("vllm-run") / "project")


def gate(project: Project, models: Path, more: str, *arguments: str) -> Outcome:
    limits = project.write("quick.yaml", f"{QUICK}{more}\n")
    return project.pytest(
        f"--qgate={models / 'copy'}",
        f"--qgate-reference={models / 'original'}",
        f"--qgate-thresholds={limits}",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        *arguments,
    )


def rows(seen: Outcome) -> dict[str, dict[str, Any]]:
    (entry,) = seen.report()["artifacts"]
    return {row["name"]: row for row in entry["checks"] if row["value"] is not None}


def test_vllm_is_chosen_where_its_interpreter_is_named(project: Project, models: Path) -> None:
    more = f"runtimes: {{vllm: {{python: {python_with_vllm()}}}}}"
    seen = gate(project, models, more, "-m", "perplexity or accuracy or edge or integrity")

    (entry,) = seen.report()["artifacts"]
    assert (entry["runtime"]["name"], entry["compared_with"]) == ("vllm", {"runtime": "vllm"})
    wrong = {
        row["name"]: row["message"]
        for row in entry["checks"]
        if row["verdict"] not in ("pass", "incomplete") and row["name"] != "perplexity.increase"
    }
    # the demo reads no prose: what stands at the end of a full context is a riddle to its reference
    assert list(wrong) == ["edge.context_limit"]
    assert "the reference itself cannot do it" in wrong["edge.context_limit"]
    assert "bound" not in rows(seen)["divergence.kl_mean"]["details"]  # the whole vocabulary
    assert seen.report()["reference"]["store"]["encoding"] == "hidden"
    assert rows(seen)["divergence.kl_mean"]["value"] < 1e-5
    assert rows(seen)["perplexity.ratio"]["value"] == pytest.approx(1.0, abs=1e-6)


def test_the_same_model_in_two_runtimes_shows_what_these_differ_by(
    project: Project, models: Path
) -> None:
    more = f"runtimes: {{vllm: {{python: {python_with_vllm()}}}}}"
    more += "\nruntime: {reference: transformers}"
    seen = gate(project, models, more, "--qgate-runtime=vllm", "-m", "perplexity")

    found = rows(seen)
    assert set(found) >= SAME
    assert found["perplexity.ratio"]["value"] == pytest.approx(1.0, abs=5e-4)
    assert "differences of runtimes are included: copy (vllm against transformers)" in seen.text
    assert {found[name]["verdict"] for name in SAME} == {"pass"}
