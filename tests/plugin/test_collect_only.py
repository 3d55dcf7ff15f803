"""`--collect-only` shows what would be held to what, and touches nothing to do so."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import Project, gating, script

if TYPE_CHECKING:
    from pathlib import Path

WATCHMAN = """
import atexit, os, sys

def note(line):
    with open(os.environ["WATCH_LOG"], "a") as log:
        log.write(line + "\\n")

def watch(event, args):
    if event in ("subprocess.Popen", "os.fork", "os.posix_spawn"):
        note("child")
    elif event in ("socket.connect", "socket.getaddrinfo", "socket.bind"):
        note("network")

sys.addaudithook(watch)
heavy = ("torch", "mlflow", "llama_cpp", "gguf", "scipy", "numpy")
atexit.register(lambda: [note(name) for name in heavy if name in sys.modules])
"""
MAX_RATIO = 5.0
"""To pytest that collects nothing: a second where that takes 0.2 s."""


@pytest.fixture
def watched(project: Project) -> tuple[dict[str, str], Callable[[], list[str]]]:
    """An environment in which Python notes children, network and heavy imports; the notes."""
    place = project.directory.parent / "watchman"
    place.mkdir()
    (place / "sitecustomize.py").write_text(WATCHMAN)
    log = place / "log"
    # other plugins import what they like: pytest-benchmark, for one, asks git
    environ = {
        "PYTHONPATH": str(place),
        "WATCH_LOG": str(log),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "-p qgate",
    }
    return environ, lambda: log.read_text().split() if log.exists() else []


Watched = tuple[dict[str, str], Callable[[], list[str]]]


def test_the_watchman_sees_children_of_a_real_run(
    project: Project, toys: Callable[..., Path], watched: Watched
) -> None:
    environ, notes = watched
    project.gate(toys(good=Toy(noise=0.001)), **environ)

    assert "child" in notes()


def test_nothing_is_started_loaded_sent_or_written(
    project: Project, toys: Callable[..., Path], watched: Watched
) -> None:
    environ, notes = watched
    models = toys(good=Toy(noise=0.001), bad=Toy(noise=0.5))
    seen = project.gate_all(models, "--collect-only", "-q", **environ)

    assert seen.code == 0
    assert len(seen.node_ids()) == 68
    assert notes() == []
    assert not (project.directory / ".qgate").exists()


def test_verbosely_each_limit_is_shown_with_its_line(
    project: Project, toys: Callable[..., Path]
) -> None:
    project.write(
        "limits.yaml",
        "version: 1\nlimits:\n  perplexity.ratio: {max: 1.2}\n"
        "artifacts:\n  small*:\n    divergence.same_top: {min: 0.7}\n",
    )
    seen = project.gate(
        toys(big=Toy(), small=Toy()), "--collect-only", "-v", "--qgate-thresholds=limits.yaml"
    )

    assert seen.code == 0
    shown = seen.out[seen.out.index("qgate: limits of big:") :]
    big, small = shown.split("qgate: limits of small:")[:2]
    for text, row in (
        (big, r"perplexity\.ratio +<= 1\.200 +certify +limits\.yaml:3"),
        (big, r"band 4 bits: 4\.50 effective bits a weight, embedding 32\.00, output 32\.00"),
        (big, r"divergence\.same_top +>= 80\.4 % +certify +thresholds/default\.yaml:\d+"),
        (small, r"divergence\.kl_mean +<= 0\.0600 +certify +thresholds/default\.yaml:\d+"),
        (small, r"divergence\.same_top +>= 70\.0 % +certify +limits\.yaml:6"),
    ):
        assert re.search(f"^  {row}$", text, re.MULTILINE)


@pytest.mark.alone
def test_collecting_ten_artifacts_takes_no_more_than_five_times_pytests_own_start(
    project: Project, toys: Callable[..., Path]
) -> None:
    models = toys(**{f"model{number}": Toy() for number in range(10)})
    nothing = [str(script()), "--collect-only", "-q"]
    command = [str(script()), "-p", "qgate", *gating(models), "--collect-only", "-q"]

    # in turns, as a machine's pace changes; noise only ever adds, so the fastest of each counts
    pairs = [(cpu_seconds(project, nothing), cpu_seconds(project, command)) for _ in range(6)]

    own, collecting = map(min, zip(*pairs, strict=True))
    assert collecting <= MAX_RATIO * own


def cpu_seconds(project: Project, command: list[str]) -> float:
    """User and system time of one run and its children."""
    process = subprocess.Popen(
        command,
        cwd=project.directory,
        env={**project.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        stdout=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode in (0, 5), command
    return usage.ru_utime + usage.ru_stime
