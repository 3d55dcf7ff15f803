"""`pytest -n 2` gives the rows, verdicts and report of a run without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CORE, core_limits, gating

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
    project.write("limits.yaml", f"{core_limits()}runtime: {{python: {python}}}\n")
    gate = (*gating(models), *CORE)
    shared = project.pytest(*gate, "-n", "2")
    started = count()
    alone = project.pytest(*gate, "-n", "0", "--qgate-json=alone.json")

    assert alone.code == shared.code == 1
    assert "5 failed, 28 passed" in shared.lines[-1]
    assert accounts(shared.report()) == accounts(alone.report("alone.json"))
    assert shared.report()["verdict"] == "fail"
    # three artifacts; and the original for each worker, which measures it or finds it in the store
    assert started == 3 + 2
