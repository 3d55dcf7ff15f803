"""Code that an artifact brings runs where the user allows it by name, and nowhere else."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from tests.plugin.conftest import CLOSED_PORT, CORE, core_limits

if TYPE_CHECKING:
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

pytest.importorskip("transformers", reason="needs transformers")

CODE = """
from transformers import LlamaConfig, LlamaForCausalLM

try:
    open({mark!r}, "w").close()
except OSError:  # it is confined
    pass

class MineConfig(LlamaConfig):
    model_type = "mine"

class MineForCausalLM(LlamaForCausalLM):
    config_class = MineConfig
"""
TEXT = "text: {source: generated, windows: 8, window_tokens: 128}\n"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """There once the artifact's code has run."""
    return tmp_path / "ran"


@pytest.fixture
def models(tmp_path: Path, mark: Path) -> Path:
    """The reference, and an artifact of the same weights that needs its own code."""
    directory = tmp_path / "models"
    shutil.copytree(model_directory(), directory / "original")
    mine = shutil.copytree(model_directory(), directory / "mine")
    (mine / "mine.py").write_text(CODE.format(mark=str(mark)))
    said = json.loads((mine / "config.json").read_text())
    names = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.MineForCausalLM"}
    changes = {"auto_map": names, "model_type": "mine", "architectures": ["MineForCausalLM"]}
    (mine / "config.json").write_text(json.dumps({**said, **changes}))
    return directory


def gate(project: Project, models: Path, *arguments: str) -> Outcome:
    limits = project.write("limits.yaml", core_limits() + TEXT)
    named = [f"--qgate={models / 'mine'}", f"--qgate-reference={models / 'original'}"]
    fixed = [f"--qgate-thresholds={limits}", f"--qgate-mlflow-uri={CLOSED_PORT}", *CORE]
    modules = str(project.directory / "modules")
    return project.pytest(*named, *fixed, *arguments, HF_MODULES_CACHE=modules)


def test_it_is_refused_and_the_message_names_the_option(
    project: Project, models: Path, mark: Path
) -> None:
    seen = gate(project, models)
    assert seen.code == 1
    assert set(seen.verdicts("mine").values()) == {"error"}
    assert "config.json asks for remote code (auto_map). Refused; pass --qgate-trust-" in seen.text
    assert not mark.exists()


def test_with_the_option_it_runs_and_is_gated_like_any_other(
    project: Project, models: Path, mark: Path
) -> None:
    seen = gate(project, models, "--qgate-trust-remote-code", "-oqgate_confine=off")
    assert seen.verdicts("mine")["perplexity.ratio"] == "pass", seen.text
    assert mark.exists()

    before = seen.report()["artifacts"][0]["digest"]
    code = models / "mine" / "mine.py"
    code.write_text(code.read_text() + "\n# changed\n")
    again = gate(project, models, "--qgate-trust-remote-code")
    assert again.report()["artifacts"][0]["digest"] != before
