"""One child process an artifact, one measurement of the reference, in whatever order rows run."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import core_limits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

ARTIFACTS = {f"model{number}": Toy(noise=0.001) for number in range(3)}


@pytest.fixture
def counted(project: Project) -> Callable[[], int]:
    """How many children were started, of all runs with `--qgate-thresholds=limits.yaml`."""
    python, count = project.counting_python()
    project.write("limits.yaml", f"{core_limits()}runtime: {{python: {python}}}\n")
    return count


LIMITS = "--qgate-thresholds=limits.yaml"


def test_each_artifact_is_loaded_once_and_the_reference_once(
    project: Project, toys: Callable[..., Path], counted: Callable[[], int]
) -> None:
    models = toys(**ARTIFACTS)
    first = project.gate(models, LIMITS)
    assert (first.code, first.report()["reference"]["store"]["was_stored"]) == (0, False)
    assert counted() == 4

    second = project.gate(models, LIMITS)
    assert second.report()["reference"]["store"]["was_stored"] is True
    assert counted() == 8  # the store is asked through a child too: its key holds the runtime
    assert second.verdicts("model0") == first.verdicts("model0")


def test_one_row_needs_one_artifact_and_the_reference(
    project: Project, toys: Callable[..., Path], counted: Callable[[], int]
) -> None:
    seen = project.gate(toys(**ARTIFACTS), LIMITS, "-k", "ratio and model1")

    assert (seen.code, "1 passed" in seen.lines[-1]) == (0, True)
    assert counted() == 2


def test_rows_that_read_files_start_no_child(
    project: Project, toys: Callable[..., Path], counted: Callable[[], int]
) -> None:
    seen = project.gate(toys(**ARTIFACTS), LIMITS, "-m", "integrity")

    assert (seen.code, "18 passed" in seen.lines[-1]) == (0, True)
    assert counted() == 0


@pytest.mark.skipif(find_spec("pytest_randomly") is None, reason="pytest-randomly is not installed")
def test_shuffled_rows_still_share_a_child(
    project: Project, toys: Callable[..., Path], counted: Callable[[], int]
) -> None:
    seen = project.gate(toys(**ARTIFACTS), LIMITS, PYTEST_ADDOPTS="-p no:xdist")

    assert any("--randomly-seed=" in line for line in seen.lines)
    assert (seen.code, "30 passed, 3 skipped" in seen.lines[-1]) == (0, True)
    assert counted() == 4


SHUFFLE = """
import random

def pytest_collection_modifyitems(items):
    random.Random(5).shuffle(items)
"""


def test_a_plugin_that_shuffles_single_rows_changes_no_number(
    project: Project, toys: Callable[..., Path], counted: Callable[[], int]
) -> None:
    project.write("shuffling.py", SHUFFLE)
    models = toys(**ARTIFACTS)
    straight = values(project.gate(models))
    shutil.rmtree(project.directory / ".qgate")  # or all would be read from the store
    shuffled = project.gate(models, LIMITS, "-p", "shuffling", PYTHONPATH=str(project.directory))

    assert shuffled.code == 0
    assert values(shuffled) == straight


def values(seen: Outcome) -> list[dict[str, float]]:
    """Of each artifact, its rows'."""
    return [
        {row["name"]: row["value"] for row in entry["checks"]}
        for entry in seen.report()["artifacts"]
    ]
