"""`pytest -n 2` gives the rows, verdicts and report of a run without it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CORE, core_limits, gating, set_up_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

pytest.importorskip("xdist")


def accounts(report: dict[str, Any]) -> list[dict[str, Any]]:
    """What must not depend on the number of workers: rows in order of names, with numbers."""
    numbers = ("name", "verdict", "value", "low", "high", "message")
    return [
        {
            "id": entry["id"],
            "verdict": entry["verdict"],
            "digest": entry["digest"],
            "rows": sorted(tuple(str(row[name]) for name in numbers) for row in entry["checks"]),
        }
        for entry in report["artifacts"]
    ]


def test_two_workers_give_the_same_report_with_one_child_an_artifact(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(good=Toy(noise=0.001), bad=Toy(noise=0.5), other=Toy(noise=0.002))
    python, count = project.counting_python()
    # by the ini file: workers must find it too
    project.write("pytest.ini", "[pytest]\nqgate_thresholds = limits.yaml\npython_files = no.py\n")
    # undecided of the bad one, which is no matter where its leading row fails
    tail = "  divergence.same_top: {min: 0.325}\n"
    project.write("limits.yaml", f"{core_limits()}{tail}runtime: {{python: {python}}}\n")
    gate = (*gating(models), *CORE)
    shared = project.pytest(*gate, "-n", "2")
    started = count()
    alone = project.pytest(*gate, "-n", "0", "--qgate-json=alone.json")

    assert alone.code == shared.code == 1
    assert "3 failed, 26 passed, 4 skipped" in shared.lines[-1]
    assert shared.verdicts("bad")["divergence.same_top"] == "skipped"
    assert accounts(shared.report()) == accounts(alone.report("alone.json"))
    assert shared.report()["verdict"] == "fail"
    # three artifacts; and the reference for each worker, which measures it or finds it in the store
    assert started == 3 + 2


PLANTED = """
from qgate.runtimes.fake.adapter import Fake

class Planted(Fake):
    pass
"""


def test_times_and_sizes_are_refused_and_the_other_rows_are_the_same(
    project: Project, tmp_path: Path, planted: Callable[[str], str]
) -> None:
    models = set_up_all(project, tmp_path / "models")
    # one of which nobody knows that it cannot tell its memory
    runtime = (f"--qgate-runtime={planted(PLANTED)}", "--qgate-mlflow-uri=http://127.0.0.1:9")
    gate = (f"--qgate={models}", *runtime)
    python_path = os.environ["PYTHONPATH"]
    shared = project.pytest(*gate, "-n", "2", PYTHONPATH=python_path)
    alone = project.pytest(
        *gate, "-m", "not latency and not memory", "--qgate-json=alone.json", PYTHONPATH=python_path
    )

    assert shared.code == 1
    for artifact in ("good", "bad"):
        for row, verdict in shared.verdicts(artifact).items():
            if row.startswith(("latency.", "memory.")):
                assert verdict == "error"
                assert shared.message(artifact, row) == (
                    f"{artifact}: {row}: refused under pytest-xdist: artifacts beside each other"
                    " falsify it. Run without -n, or leave it out with"
                    " -m 'not latency and not memory'"
                )
    others = [rows_beside(report) for report in (shared.report(), alone.report("alone.json"))]
    assert len(others[0]["good"]) == 27
    assert others[0] == others[1]


def rows_beside(report: dict[str, Any]) -> dict[str, list[tuple[str, ...]]]:
    """By artifact, the numbers of all rows but times and sizes."""
    return {
        entry["id"]: [row for row in entry["rows"] if not row[0].startswith(("latency", "memory"))]
        for entry in accounts(report)
    }
