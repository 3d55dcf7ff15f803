"""A model's files are replaced while it is gated: no row of it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

SWAP = """
import os
done = []
def swap(moment):
    if moment == os.environ["MOMENT"] and not done:
        done.append(moment)
        os.replace(os.environ["OTHER"], os.environ["VICTIM"])
def pytest_collection_finish(session):
    swap("collected")
def pytest_runtest_logreport(report):
    if report.when == "call" and "integrity" in report.nodeid and "good" in report.nodeid:
        swap("first row")
def pytest_runtest_logfinish(nodeid):
    if "perplexity" in nodeid:
        swap("measured")
def pytest_sessionfinish(session):
    swap("last row")
"""
CHANGED = "good: its files changed while it was measured; expected the same files"


@pytest.mark.parametrize("moment", ["collected", "first row", "measured", "last row"])
def test_a_replaced_file_is_an_error_of_every_row_that_was_judged_too(
    project: Project, toys: Callable[..., Path], tmp_path: Path, moment: str
) -> None:
    models = toys(good=Toy(noise=0.001))

    seen = gate_swapping(project, models / "good.gguf", tmp_path, moment)

    assert seen.code == 1, seen.text
    rows = seen.verdicts("good")
    assert len(rows) > 5
    assert set(rows.values()) == {"error"}
    integrity = [row for row in rows if row.startswith("integrity.")]
    assert integrity
    assert all(CHANGED in seen.message("good", row) for row in integrity)
    assert CHANGED in seen.text
    assert "INTERNALERROR" not in seen.text


def test_a_replaced_reference_is_an_error_of_every_row_that_is_held_against_it(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    models = toys(good=Toy(noise=0.001))

    seen = gate_swapping(project, models / "original.gguf", tmp_path, "last row")

    assert seen.code == 1, seen.text
    rows = seen.verdicts("good")
    kept = {row: verdict for row, verdict in rows.items() if row.startswith("integrity.")}
    assert "error" not in kept.values()
    assert {rows[row] for row in rows if row not in kept} == {"error"}
    assert "reference original: its files changed" in seen.text


def gate_swapping(project: Project, victim: Path, tmp_path: Path, moment: str) -> Outcome:
    other = write_toy(tmp_path / "other.gguf", Toy(noise=0.9))
    project.write("swap.py", SWAP)
    return project.gate(
        victim.parent,
        "-p",
        "swap",
        PYTHONPATH=str(project.directory),
        MOMENT=moment,
        OTHER=str(other),
        VICTIM=str(victim),
    )
