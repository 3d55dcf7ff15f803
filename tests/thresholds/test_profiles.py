"""Limits for one use of models each: by their bare name, over the shipped ones."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import load_thresholds
from tests.thresholds.loading import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

PROFILES = ("classification", "code_generation", "maths", "summarisation")


def test_every_file_beside_the_shipped_one_is_a_profile() -> None:
    files = {path.stem for path in (REPOSITORY / "thresholds").glob("*.yaml")}
    assert files == {"default", *PROFILES}


@pytest.mark.parametrize("name", PROFILES)
def test_profile_is_found_by_its_bare_name_and_replaces_the_demos_tasks(
    name: str, tmp_path: Path
) -> None:
    thresholds = load_thresholds(tmp_path / name, tmp_path)
    assert [file.shown for file in thresholds.files] == [
        "thresholds/default.yaml",
        f"thresholds/{name}.yaml",
    ]
    assert thresholds.tasks
    assert all(task.lm_eval for task in thresholds.tasks)
    limits = thresholds.limits_for("a", "Q4_K_M")
    assert {task.check.name for task in thresholds.tasks} <= limits.keys()
    assert "latency.tps" in limits


def test_file_of_that_name_wins(tmp_path: Path) -> None:
    (tmp_path / "maths").write_text("version: 1\ninherit: none\nlimits: {memory.peak: {max: 1}}\n")
    assert not load_thresholds(tmp_path / "maths", tmp_path).tasks


def test_name_in_another_directory_is_a_path(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError, match="gates/maths: no such thresholds file"):
        load_thresholds(tmp_path / "gates" / "maths", tmp_path)


def test_profiles_fit_the_schema() -> None:
    files = [str(path) for path in (REPOSITORY / "thresholds").glob("*.yaml")]
    schema = str(REPOSITORY / "thresholds" / "schema.json")
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--schemafile", schema, *files],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout


@pytest.mark.slow
def test_profiles_name_tasks_that_lm_eval_has(tmp_path: Path) -> None:
    lm_eval = pytest.importorskip("lm_eval.tasks", reason="needs lm-eval")
    known = set(lm_eval.TaskManager().all_subtasks)
    named = {
        task.lm_eval.name
        for name in PROFILES
        for task in load_thresholds(tmp_path / name, tmp_path).tasks
        if task.lm_eval
    }
    assert named <= known
