"""The demo model's own tasks, certified: real models in llama.cpp, from the demo's own limits."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.certify import ITEMS
from tests.plugin.conftest import CLOSED_PORT, new_project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

pytestmark = pytest.mark.slow
TASKS = ("arithmetic", "code")
"""Of the demo's: two that two bits lose. All of them take minutes."""


@pytest.fixture(scope="module")
def models(demo_models: Callable[..., Path]) -> Path:
    """The demo's models, and a copy of the reference among them."""
    directory = demo_models()
    shutil.copy(directory / "qgate-demo-F16.gguf", directory / "original-again.gguf")
    return directory


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Outcome:
    """One gate of a sound artifact, a broken one and the reference itself."""
    project: Project = new_project(tmp_path_factory.mktemp("certify") / "project")
    return project.pytest(
        f"--qgate={models}",
        f"--qgate-reference={models / 'qgate-demo-F16.gguf'}",
        f"--qgate-thresholds={models / 'certify.yaml'}",
        f"--qgate-mlflow-uri={CLOSED_PORT}",
        "-m",
        "accuracy",
        "-k",
        f"(qgate-demo-Q8_0 or Q2_K or original-again) and ({' or '.join(TASKS)})",
    )


def rows(seen: Outcome, artifact: str) -> dict[str, Any]:
    (entry,) = [one for one in seen.report()["artifacts"] if one["id"] == artifact]
    return {row["name"]: row for row in entry["checks"]}


def test_eight_bits_are_certified_to_lose_no_more_than_two_points(seen: Outcome) -> None:
    found = rows(seen, "qgate-demo-Q8_0")
    for task in TASKS:
        row = found[f"accuracy.{task}"]
        assert row["verdict"] == "pass", row["message"]
        assert row["limit"]["rule"] == "certify"
        assert row["limit"]["min"] == -0.02
        assert row["n"] <= ITEMS
        assert row["low"] >= -0.02


def test_two_bits_fail_what_they_lost_and_show_the_flips(seen: Outcome) -> None:
    found = rows(seen, "qgate-demo-Q2_K")
    for task in TASKS:
        row = found[f"accuracy.{task}"]
        assert row["verdict"] == "fail", row["message"]
        assert row["high"] < -0.02
        flips = row["details"]["worst"]
        assert len(flips) == 5
        assert all(one["reference"] != one["artifact"] for one in flips)
    assert seen.code == 1
    assert "worst samples" in seen.text


def test_the_reference_against_itself_flips_nothing(seen: Outcome) -> None:
    found = rows(seen, "original-again")
    for task in TASKS:
        details = found[f"accuracy.{task}"]["details"]
        assert (details["lost"], details["gained"], details["findings"]) == (0, 0, [])


def test_how_likely_a_decision_is_was_said_before(seen: Outcome) -> None:
    for task in TASKS:
        begins = f"qgate: accuracy.{task}: "
        (said,) = (line for line in seen.lines if line.startswith(begins))
        assert f"certify a drop of 2 pp with up to {ITEMS} items: an undamaged" in said
