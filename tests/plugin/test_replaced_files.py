"""A model's files are replaced while it is gated: no row of it is believed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable

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
SWAP_WHILE_LOADING = """
import os
from pathlib import Path
from qgate.runtimes.served_model import ServedModel
load, victim, other = ServedModel._load, Path(os.environ["VICTIM"]), Path(os.environ["OTHER"])
def put_link(target):
    link = victim.with_name("new")
    link.symlink_to(target)
    link.replace(victim)
def swapped(served):
    if served.artifact.id != victim.stem:
        return load(served)
    if victim.is_symlink():
        before = victim.readlink()
        put_link(other)
    else:
        aside = victim.with_name("aside")
        victim.rename(aside)
        other.rename(victim)
    try:
        return load(served)
    finally:
        if victim.is_symlink():
            put_link(before)
        else:
            victim.rename(other)
            aside.rename(victim)
ServedModel._load = swapped
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
    kept = {row for row, verdict in rows.items() if verdict != "error"}
    assert kept == {"integrity.files", "integrity.scheme", "integrity.weights"}
    assert {"integrity.tokenizer", "integrity.special_tokens"} <= rows.keys()
    assert "reference original: its files changed" in seen.text


@pytest.mark.slow
@pytest.mark.parametrize("how", ["moved", "linked"])
@pytest.mark.parametrize("model", ["original", "good"])
def test_who_stood_in_while_it_was_loaded_is_not_kept_as_measured(
    project: Project, toys: Callable[..., Path], tmp_path: Path, how: str, model: str
) -> None:
    models = toys(good=Toy(noise=0.001))
    victim = models / f"{model}.gguf"
    if how == "linked":
        real = models / ".files" / victim.name
        real.parent.mkdir()
        victim.rename(real)
        victim.symlink_to(Path(".files") / victim.name)
    other = Toy(noise=0.9, scheme="F32" if model == "original" else "Q4_K_M")
    project.write("swap.py", SWAP_WHILE_LOADING)
    swapping = {
        "PYTHONPATH": str(project.directory),
        "OTHER": str(write_toy(tmp_path / "other.gguf", other)),
        "VICTIM": str(victim),
    }

    seen = project.gate(models, "-p", "swap", **swapping)
    after, values_after = project.gate(models), values(project)
    shutil.rmtree(project.directory / ".qgate")
    project.gate(models)

    assert seen.code == 1, seen.text
    assert "its files changed while it was measured" in seen.text
    assert after.code == 0
    assert values_after == values(project)


def values(project: Project) -> dict[str, float]:
    report = json.loads((project.directory / ".qgate" / "report.json").read_text())
    return {row["name"]: row["value"] for row in report["artifacts"][0]["checks"]}


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
