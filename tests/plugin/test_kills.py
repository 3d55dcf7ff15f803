"""Kills at random moments: no process stays, and the next run is as if nothing had been.

Of a gate that has begun some process gets some signal: pytest itself, the child that serves a
model, a program in the sandbox, the child that uploads. Then nothing of the run may be alive, and
the same command must give the report of an undisturbed run and leave no file that it does not
leave otherwise. 20 kills;
`QGATE_TEST_KILLS=100 pytest -m slow -n 2 --dist loadscope tests/plugin/test_kills.py` for more,
QGATE_TEST_KILL_SEED for others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import qgate
from tests.plugin.conftest import Project, new_project, script
from tests.plugin.test_interruption import heed_signals
from tests.support.compare_reports import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("QGATE_TEST_KILLS", "20"))
SEED = int(os.environ.get("QGATE_TEST_KILL_SEED", "0"))
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT", "SIGHUP", "SIGSEGV")
KILLS_IN_TRANSFORMERS = max(1, round(0.15 * KILLS))
"""Fewer than in llama.cpp: a run in transformers takes three times as long."""
GONE_S = 20.0
"""A process of a killed run that is there after this stays."""
PATIENCE_S = 300.0
OF_PYTEST = frozenset({".pytest_cache/v/cache/lastfailed"})
"""Kept by pytest, empty, once a run has failed."""
VARYING = re.compile(r"\d{8}T\d{6}Z-\d+-[0-9a-f]{8}|[0-9a-f]{8,}")
"""Sessions and digests in names of files."""
LIMITS = """version: 1
tasks:
  {everyday: off, grammar: off, stories: off, next_sentence: off, classification: off}
limits:
  latency.ttft: {max: 1000, rule: alarm}
  latency.itl: {max: 1000, rule: alarm}
  latency.tps: {min: 0.001, rule: alarm}
  memory.growth: {max_bytes: 1000000000, rule: alarm}
"""
"""Under which times and memory decide nothing beside other tests, and `code` is a task."""
AT_LOAD = "quantize: {method: bitsandbytes, load_in_8bit: true}\n"


def write_gguf(directory: Path, demo_models: Callable[..., Path]) -> Path:
    pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")
    return Path(shutil.move(demo_models("F16", "Q8_0"), directory / "gguf"))


def write_hf(directory: Path) -> Path:
    for package in ("transformers", "bitsandbytes"):
        pytest.importorskip(package, reason=f"needs {package}")
    model = Path(qgate.__file__).parent / "demo" / "model"
    shutil.copytree(model, directory / "hf" / "original")
    at_load = shutil.copytree(model, directory / "hf" / "int8-at-load")
    (at_load / "qgate.yaml").write_text(AT_LOAD)
    return directory / "hf"


class Watch:
    """Every process that a run starts, by looking at its tree twenty times a second."""

    def __init__(self, run: subprocess.Popen[bytes]) -> None:
        self._root = psutil.Process(run.pid)
        self._seen: dict[int, psutil.Process] = {}
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._is_over.wait(0.05):
            self.look()

    def look(self) -> list[psutil.Process]:
        """What the run has started and is alive."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = self._root.children(recursive=True)
            self._seen.update({one.pid: one for one in below})
            return below
        return []

    def left(self) -> list[str]:
        """What is still alive when the run has ended and had time to end."""
        self._is_over.set()
        self._thread.join()
        until = time.monotonic() + GONE_S
        while (alive := [*filter(_is_alive, self._seen.values())]) and time.monotonic() < until:
            time.sleep(0.1)
        return [str(one) for one in alive]


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """One runtime's models, and what a run over them is that nobody disturbs."""

    models: Path
    report: dict[str, Any]
    files: frozenset[str]
    took_s: float
    store: Path
    """With MLflow's, and nothing that was measured."""


def command(models: Path) -> list[str]:
    return [
        str(script()),
        f"--qgate={models}",
        "--qgate-thresholds=limits.yaml",
        "--qgate-effort=quick",
    ]


def set_up(directory: Path, store: Path | None = None) -> Project:
    """A project with a folder of its own for temporary files.

    Args:
        directory: of the project.
        store: a `.qgate` with an MLflow store, which takes seconds to make; None: there is none.
    """
    project = new_project(directory)
    project.write("limits.yaml", LIMITS)
    if store:
        shutil.copytree(store, project.directory / ".qgate")
    temporary = directory.parent / f"{directory.name}-tmp"
    temporary.mkdir()
    return dataclasses.replace(project, environ={**project.environ, "TMPDIR": str(temporary)})


def files_of(project: Project) -> frozenset[str]:
    """What lies in the project and in its temporary folder; names that vary are cut."""
    places = (project.directory, Path(project.environ["TMPDIR"]))
    paths = (path.relative_to(place) for place in places for path in place.rglob("*"))
    return frozenset(VARYING.sub("*", str(path)) for path in paths)


def run_undisturbed(project: Project, models: Path) -> Undisturbed:
    began = time.monotonic()
    seen = project.run(command(models))
    took_s = time.monotonic() - began
    assert seen.code == 0, seen.text
    assert "mlflow: sqlite" in seen.text
    return Undisturbed(
        models=models,
        report=seen.report(),
        files=files_of(project),
        took_s=took_s,
        store=_keep_tracking(project.directory / ".qgate", project.directory.with_suffix(".store")),
    )


def _keep_tracking(store: Path, kept: Path) -> Path:
    """Copy what MLflow keeps, without the artifacts of its runs."""
    kept.mkdir()
    shutil.copy(store / "mlflow.db", kept)
    (kept / "mlartifacts").mkdir()
    return kept


def kill_during(
    project: Project, undisturbed: Undisturbed, name: str, moment: float, which: float | None
) -> str:
    """Begin a gate, send one of its processes a signal, and wait until all of it has gone.

    Args:
        project: where it is begun.
        undisturbed: what it would be otherwise.
        name: of the signal.
        moment: share of the undisturbed run's time.
        which: of the processes below pytest, as a share of their list; None: pytest itself.

    Returns:
        What was done, for whoever reads the result.
    """
    with (project.directory.parent / f"{project.directory.name}.txt").open("wb") as out:
        run = subprocess.Popen(
            command(undisturbed.models),
            cwd=project.directory,
            env=project.environ,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
    watch = Watch(run)
    try:
        time.sleep(moment * undisturbed.took_s)
        below = watch.look()
        victim = psutil.Process(run.pid) if which is None or not below else _pick(below, which)
        what = f"{name} at {moment:.2f} to {_describe(victim, run.pid)}"
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.send_signal(signal.Signals[name])
        run.wait(PATIENCE_S)
    finally:
        run.kill()
        run.wait()
    left = watch.left()
    assert left == [], what
    return what


def _pick(below: list[psutil.Process], which: float) -> psutil.Process:
    return below[int(which * len(below))]


def _describe(victim: psutil.Process, root: int) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        command = " ".join(" ".join(victim.cmdline()).split())
        return "pytest" if victim.pid == root else command[-60:]
    return "one that had gone"


def problems(project: Project, undisturbed: Undisturbed) -> Iterator[str]:
    """What of the next run is not as if nothing had been."""
    seen = project.run(command(undisturbed.models))
    if seen.code != 0:
        yield f"exit code {seen.code}: {seen.text[-2000:]}"
    if "mlflow: sqlite" not in seen.text:
        yield "not uploaded"
    found = differences(undisturbed.report, seen.report())
    yield from (line for line in found if not line.startswith("also "))
    left = files_of(project) - undisturbed.files - OF_PYTEST
    yield from (f"left: {path}" for path in sorted(left))


def kill_often(directory: Path, models: Path, kills: int) -> Iterator[str]:
    """Kills runs one after the other, and yields what is wrong with the run after each."""
    undisturbed = run_undisturbed(set_up(directory / "undisturbed"), models)
    chance = random.Random(f"{SEED} {models.name}")
    for number in range(kills):
        is_first = number % 4 == 0  # the others find the tables of MLflow's store made
        store = None if is_first else undisturbed.store
        project = set_up(directory / f"project{number}", store)
        name, moment = chance.choice(SIGNALS), chance.uniform(0.02, 1.0)
        is_root, which = chance.random() < 0.4, chance.random()
        what = kill_during(project, undisturbed, name, moment, None if is_root else which)
        print(f"{number}: {what}")  # noqa: T201 - which ones there were
        yield from (f"{what}: {problem}" for problem in problems(project, undisturbed))


# two classes: `--dist loadscope` hands out a class as a whole, one to each worker


class TestLlamaCpp:
    def test_a_kill_costs_a_rerun_and_nothing_else(
        self, tmp_path: Path, demo_models: Callable[..., Path]
    ) -> None:
        models = write_gguf(tmp_path, demo_models)
        assert [*kill_often(tmp_path, models, max(1, KILLS - KILLS_IN_TRANSFORMERS))] == []


class TestTransformers:
    def test_a_kill_costs_a_rerun_and_nothing_else(self, tmp_path: Path) -> None:
        models = write_hf(tmp_path)
        assert [*kill_often(tmp_path, models, KILLS_IN_TRANSFORMERS)] == []
