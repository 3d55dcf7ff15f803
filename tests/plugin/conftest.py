"""Runs pytest as its users do: in a process of its own, in a project of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from qgate.checks import CHECKS, area_of
from qgate.thresholds import load_thresholds
from tests.conftest import ROOT, Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CORE = ("-m", "integrity or perplexity")
"""The lines of the checklist that files and likelihoods alone decide: fast, and the same on any
machine. What a story tells of a run does not depend on which lines it has."""
LONG = 1024
"""Tokens of a context that has room for the prompts of the edge cases, a byte each."""
TOY_LIMITS = """version: 1
edge: {prompts: 48}
limits:
  latency.ttft: {max: 1000, rule: alarm}
  latency.itl: {max: 1000, rule: alarm}
  latency.tps: {min: 0.001, rule: alarm}
"""
"""Thresholds under which noise in a toy's microseconds decides nothing, and of its free answers
some end: each of the first 32 is a loop. Ends within `limits`."""
BRIEF = """version: 1
text: {{source: generated, windows: 4, window_tokens: 128}}
latency: {{prompt_tokens: 32, output_tokens: 8, pairs: 6, warmup: 1}}
tasks:
  everyday: off
  grammar: off
  stories: off
  next_sentence: off
  drill: off
  {tasks}
"""
"""Thresholds of a calibration with few requests; `tasks` are the last of its tasks."""
OWN_TASK = "classification: off\n  code: off\n  own: {file: own.jsonl, max_drop: 0.1}"
ITEMS = 400
"""Of that task of a team's own."""
PATIENCE_S = 400
"""A run that takes longer hangs."""
LONGEST = ("test_kills", "test_certify", "test_mixed_directory")
CLOSED_PORT = "http://127.0.0.1:9"
"""Nobody listens there: an upload is given up at once."""
_WITHOUT = ("randomly", "hypothesispytest", "anyio")
"""Plugins that a run could do otherwise by, or that take a fifth of its start to import."""
ORDERLY = MappingProxyType(
    {"COLUMNS": "200", "PYTEST_ADDOPTS": " ".join(f"-p no:{name}" for name in _WITHOUT)}
)
_OURS = ("PYTEST_", "PYTHON", "MLFLOW_", "GITHUB_", "CI", "COVERAGE_PROCESS")
_COUNTING_PYTHON = """#!/bin/sh
echo started >> "{log}"
exec "{python}" "$@"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest stories first, in this order: one begun last would keep a worker waiting.

    xdist hands a worker with few tests left its second class or module at once: so the two classes
    of kills come before all others, one for each worker.
    """
    items.sort(key=lambda item: (*LONGEST, item.path.stem).index(item.path.stem))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a user sees of a run."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def text(self) -> str:
        return self.out + self.err

    @property
    def lines(self) -> list[str]:
        return [line.strip() for line in self.text.splitlines()]

    def report(self, path: str = ".qgate/report.json") -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / path).read_text())
        return found

    def own_reports(self) -> list[Path]:
        """Of each session in this directory, oldest first."""
        return sorted((self.directory / ".qgate" / "reports").glob("*.json"))

    def verdicts(self, artifact: str) -> dict[str, str]:
        """Of one artifact: row -> verdict, by the report."""
        rows = {entry["id"]: entry["checks"] for entry in self.report()["artifacts"]}
        return {row["name"]: row["verdict"] for row in rows[artifact]}

    def message(self, artifact: str, check: str) -> str:
        rows = {entry["id"]: entry["checks"] for entry in self.report()["artifacts"]}
        return next(str(row["message"]) for row in rows[artifact] if row["name"] == check)

    def node_ids(self) -> list[str]:
        """What `--collect-only -q` printed."""
        return [line for line in self.lines if "::" in line and " " not in line]


@dataclass(frozen=True, kw_only=True)
class Project:
    """A team's repository: a directory with an ini file, from which pytest is run."""

    directory: Path
    environ: dict[str, str]
    patience_s: float = PATIENCE_S

    def write(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def pytest(self, *arguments: str | Path, cwd: Path | None = None, **environ: str) -> Outcome:
        """Run `pytest` and wait for it."""
        return self.run([script(), *arguments], cwd=cwd, **environ)

    def gate(self, models: Path, *arguments: str | Path, **environ: str) -> Outcome:
        """Run integrity and perplexity, all that this run is about, on what the fake serves."""
        self.write("core.yaml", core_limits())
        core = (*CORE, f"--qgate-thresholds={self.directory / 'core.yaml'}")
        return self.pytest(*gating(models), *core, *arguments, **environ)

    def gate_all(self, models: Path, *arguments: str | Path, **environ: str) -> Outcome:
        """Run the whole checklist on models that the fake runtime serves."""
        return self.pytest(*gating(models), *arguments, **environ)

    def run(
        self, command: Sequence[str | Path], *, cwd: Path | None = None, **environ: str
    ) -> Outcome:
        directory = cwd or self.directory
        done = subprocess.run(
            [str(word) for word in command],
            cwd=directory,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self.patience_s,
            check=False,
        )
        return Outcome(code=done.returncode, out=done.stdout, err=done.stderr, directory=directory)

    def counting_python(self) -> tuple[Path, Callable[[], int]]:
        """An interpreter that notes each start; and how many there were."""
        log = self.directory.parent / "starts.log"
        python = self.directory.parent / "counting-python"
        python.write_text(_COUNTING_PYTHON.format(log=log, python=sys.executable))
        python.chmod(0o755)
        self.environ["PYTEST_ADDOPTS"] += " -o qgate_confine=off"  # it writes outside of the child
        return python, lambda: len(log.read_text().splitlines()) if log.exists() else 0


def script(name: str = "pytest") -> Path:
    """A command; unlike `python -m pytest` it leaves sys.path alone."""
    return Path(sysconfig.get_path("scripts")) / name


def gating(models: Path) -> list[str]:
    """What is gated, with MLflow out of reach."""
    return [f"--qgate={models}", "--qgate-runtime=fake", f"--qgate-mlflow-uri={CLOSED_PORT}"]


def set_up_all(project: Project, directory: Path, **artifacts: Toy) -> Path:
    """A directory of models that the whole checklist can be run on, and limits for it.

    A good and a bad artifact, and those that are named.
    """
    project.write("pytest.ini", "[pytest]\nqgate_thresholds = limits.yaml\n")
    project.write("limits.yaml", TOY_LIMITS)
    directory.mkdir()
    models = {"original": Toy(scheme="F32"), "good": Toy(noise=0.001), "bad": Toy(noise=0.5)}
    for name, toy in {**models, **artifacts}.items():
        write_toy(directory / f"{name}.gguf", dataclasses.replace(toy, context=LONG))
    return directory


def sound(rows: Iterable[str]) -> dict[str, str]:
    """What the rows of an artifact say that is as good as its reference.

    The increase is shown, not judged: its shipped limits are of WikiText-2.
    """
    return {row: "skipped" if row == "perplexity.increase" else "pass" for row in rows}


def core_limits() -> str:
    """A thresholds file that drops every shipped limit but those of `CORE`: its run is complete.

    It ends within `limits`: more of them may follow, and other sections.
    """
    shipped = load_thresholds(None, Path.cwd())
    kept = ("perplexity", "divergence")
    names = {limit.check for limit in shipped.reachable() if limit.check in CHECKS}
    dropped = sorted(name for name in names if area_of(name) not in kept)
    tasks = ", ".join(f"{task.name}: off" for task in shipped.tasks)
    return "\n".join(
        [
            "version: 1",
            f"tasks: {{{tasks}}}",
            "limits:",
            *(f"  {name}: off" for name in dropped),
            "",
        ]
    )


@pytest.fixture(scope="session", autouse=True)
def _is_installed() -> None:
    if not entry_points(group="pytest11", name="qgate"):
        pytest.fail("these tests need the plugin installed: pip install --no-deps -e .")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return new_project(tmp_path / "project")


def new_project(directory: Path, patience_s: float = PATIENCE_S) -> Project:
    """An empty project; search paths, plugins and CI facts of this run do not reach it."""
    directory.mkdir()
    (directory / "pytest.ini").write_text("[pytest]\n")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return Project(directory=directory, environ={**kept, **ORDERLY}, patience_s=patience_s)


@pytest.fixture(scope="session")
def demo_models(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """demo_models(*names) -> a new directory with these files of the demo; without names: all."""
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    made = tmp_path_factory.mktemp("demo") / "models"
    make = [sys.executable, "-m", "qgate.demo", str(made), "--with-broken"]
    subprocess.run(make, check=True, capture_output=True, timeout=300)

    def copy(*names: str) -> Path:
        directory = tmp_path_factory.mktemp("copied") / "models"
        shutil.copytree(made, directory)
        for path in directory.glob("*.gguf"):
            if names and path.stem.removeprefix("qgate-demo-") not in names:
                path.unlink()
        return directory

    return copy


@pytest.fixture
def calibrate(project: Project) -> Callable[..., Outcome]:
    """calibrate(*arguments) -> what a user sees; planted runtimes are found."""

    def run(*arguments: str | Path) -> Outcome:
        known = os.environ.get("PYTHONPATH", "")
        paths = os.pathsep.join([str(ROOT), *([known] if known else [])])
        command = [sys.executable, "-m", "qgate.calibrate", *arguments]
        return project.run(command, PYTHONPATH=paths, OMP_WAIT_POLICY="passive")

    return run


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """A reference that the fake runtime serves: a byte is a token."""
    pytest.importorskip("gguf")
    (tmp_path / "models").mkdir()
    return write_toy(
        tmp_path / "models" / "original.gguf", Toy(scheme="F32", vocabulary=256, context=LONG)
    )


@pytest.fixture
def brief(project: Project) -> Path:
    """A thresholds file of one task, whose answer is always yes, and few requests."""
    project.write("brief.yaml", BRIEF.format(tasks=OWN_TASK))
    items = [{"prompt": f"Is {number} a number?", "answer": "yes"} for number in range(ITEMS)]
    project.write("own.jsonl", "".join(f"{json.dumps(item)}\n" for item in items))
    return Path("brief.yaml")
