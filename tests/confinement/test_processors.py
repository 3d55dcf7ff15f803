"""Processors that a process may use: its CPU affinity and the quota of its cgroup."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qgate.confinement.processors import usable_processors

if TYPE_CHECKING:
    from pathlib import Path

if not hasattr(os, "sched_setaffinity"):
    pytest.skip("this system has no CPU affinity", allow_module_level=True)


@pytest.fixture
def eight_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: set(range(8)))


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_the_affinity_counts_and_not_the_machine() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert usable_processors() == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8),
        ({"pods/one/cpu.max": "max 100000\n"}, 8),
        ({"pods/one/cpu.max": "400000 100000\n"}, 4),
        ({"pods/one/cpu.max": "250000 100000\n"}, 3),
        ({"pods/one/cpu.max": "10000 100000\n"}, 1),
        ({"pods/one/cpu.max": "max 100000\n", "pods/cpu.max": "200000 100000\n"}, 2),
        # in a container its own cgroup is mounted as the top
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"pods/one/cpu.max": "nonsense"}, 8),
        ({"pods/one/cpu.max": "100000 0\n"}, 8),
    ],
)
def test_the_quota_of_a_cgroup_counts_with_those_above_it(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    write(tmp_path / "own", "0::/pods/one\n")
    for name, text in files.items():
        write(tmp_path / "cgroups" / name, text)

    assert usable_processors(tmp_path / "cgroups", tmp_path / "own") == expected


@pytest.mark.usefixtures("eight_processors")
@pytest.mark.parametrize(("quota", "expected"), [("150000", 2), ("-1", 8)])
def test_the_quota_of_cgroups_of_version_1_counts(
    tmp_path: Path, quota: str, expected: int
) -> None:
    write(tmp_path / "own", "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/docker/a\n")
    write(tmp_path / "cgroups" / "cpu" / "cpu.cfs_quota_us", f"{quota}\n")
    write(tmp_path / "cgroups" / "cpu" / "cpu.cfs_period_us", "100000\n")

    assert usable_processors(tmp_path / "cgroups", tmp_path / "own") == expected


def test_a_system_without_cgroups_has_the_processors_of_its_affinity(tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert usable_processors(none, none) == len(os.sched_getaffinity(0))
