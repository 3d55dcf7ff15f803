"""Limits for one use of models each: by their bare name, over the shipped ones."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import BANDS, load_thresholds
from tests.thresholds.team_files import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Limit

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
    rows = {check for check in limits if check.startswith("accuracy.")}
    assert rows == {task.check.name for task in thresholds.tasks}
    assert "latency.tps" in limits


def allows_more(one: Limit, other: Limit) -> bool:
    """Of two limits on one check."""
    if one.max is None or other.max is None:
        assert one.min is not None
        assert other.min is not None
        return one.min < other.min
    return one.max > other.max


@pytest.mark.parametrize("band", BANDS)
@pytest.mark.parametrize("name", PROFILES)
def test_no_profile_allows_more_than_what_is_shipped(name: str, band: str, tmp_path: Path) -> None:
    shipped = load_thresholds(None, tmp_path).limits_for("a", "any", band)
    own = load_thresholds(tmp_path / name, tmp_path).limits_for("a", "any", band)
    common = [check for check in shipped if not check.startswith("accuracy.")]
    assert [check for check in common if allows_more(own[check], shipped[check])] == []


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("classification", "divergence.same_top"),
        ("code_generation", "divergence.kl_p99"),
        ("maths", "perplexity.ratio"),
    ],
)
def test_a_profile_is_stricter_with_less_than_8_bits(name: str, check: str, tmp_path: Path) -> None:
    shipped, own = load_thresholds(None, tmp_path), load_thresholds(tmp_path / name, tmp_path)
    stricter = [
        band
        for band in BANDS
        if allows_more(
            shipped.limits_for("a", "any", band)[check], own.limits_for("a", "any", band)[check]
        )
    ]
    assert stricter == [band for band in BANDS if band not in ("16 bits", "8 bits")]


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
        task.lm_eval.task or task.name
        for name in PROFILES
        for task in load_thresholds(tmp_path / name, tmp_path).tasks
        if task.lm_eval
    }
    assert named <= known
