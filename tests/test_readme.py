"""Every command that the README shows is run here, in the order in which a reader types them."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from qgate.thresholds import shipped_path

pytest.importorskip("llama_cpp", reason="the README's main job needs the GGUF runtime")

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    command.strip()
    for language, block in BLOCKS
    if language == "console"
    for line in block.splitlines()
    for command in line.removeprefix("$ ").split(" && ")
]


def _runs_elsewhere(command: str) -> bool:
    """Installing and the whole suite are run by .ci/run, in fresh environments; so is this file."""
    return command.startswith(("pip install", "pytest -n 2"))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory a reader works in, with the files that the README shows."""
    directory = tmp_path_factory.mktemp("reader")
    for language, block in BLOCKS:
        name = re.match(r"# (\S+)\n", block)
        if language in ("yaml", "python") and name:
            (directory / name[1]).write_text(block, encoding="utf-8")
    # the reader's own items: those of the README alone would be too few to show anything
    shutil.copy(shipped_path().parent / "tasks" / "code.jsonl", directory / "expressions.jsonl")
    return directory


def _type(command: str, directory: Path) -> subprocess.CompletedProcess[str]:
    tools = Path(sys.executable).parent
    environ = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "100"}
    for name in ("CI", "PYTEST_ADDOPTS", "MLFLOW_TRACKING_URI"):
        environ.pop(name, None)
    return subprocess.run(
        command, shell=True, cwd=directory, env=environ, capture_output=True, text=True, check=False
    )


def _shape(text: str) -> str:
    """A line with its numbers taken out: what stays on another machine, or with another model."""
    text = re.sub(r"^(  edge\.\w+ )\(.*?\)", r"\1(member)", text)  # whichever is the worst
    return re.sub(r"sha256:[0-9a-f]+|[-+]?\d+(?:[.  ]\d+)*(?:e-\d+)?", "#", text)


@pytest.mark.slow
def test_the_main_job_ends_with_the_table_that_the_readme_shows(reader: Path) -> None:
    make, gate = (
        next(c for c in COMMANDS if c.startswith(start))
        for start in ("qgate demo", "pytest --qgate demo-models")
    )
    assert _type(make, reader).returncode == 0
    done = _type(gate, reader)
    shown = next(block for language, block in BLOCKS if language == "text")
    for line in shown.strip().splitlines():
        assert _shape(line).split() in [_shape(got).split() for got in done.stdout.splitlines()]
    assert done.returncode == (1 if "FAIL" in shown or "INCONCLUSIVE" in shown else 0)


@pytest.mark.slow
def test_the_broken_artifact_prints_the_failing_line_that_the_readme_shows(reader: Path) -> None:
    make = next(c for c in COMMANDS if "--with-broken" in c)
    gate = next(c for c in COMMANDS if "Q2_K and drill" in c)
    assert _type(make, reader).returncode == 0
    done = _type(gate, reader)
    assert done.returncode == 1
    shown = [block for language, block in BLOCKS if language == "text"][1].strip()
    assert _shape(shown) in [_shape(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_every_other_command_works(reader: Path) -> None:
    special = ("--with-broken", "Q2_K and drill", "mlflow ui", "qgate verify")
    first = COMMANDS.index("pytest --qgate demo-models")
    for command in COMMANDS[first + 1 :]:
        if _runs_elsewhere(command) or any(word in command for word in special):
            continue
        done = _type(command, reader)
        assert done.returncode in (0, 1), f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr, command
        if command.startswith("pytest") and "--collect-only" not in command:
            assert "= qgate =" in done.stdout, command


@pytest.mark.slow
def test_verify_agrees_with_the_run(reader: Path) -> None:
    (verify,) = (command for command in COMMANDS if "qgate verify" in command)
    shipped = "pytest --qgate=demo-models/qgate-demo-Q8_0.gguf"
    shipped += " --qgate-reference=demo-models/qgate-demo-F16.gguf"
    own = f"{shipped} --qgate-thresholds=my-limits.yaml"
    assert _type(own, reader).returncode == 0
    assert _type(verify, reader).returncode == 0
    assert _type(f"{own} -k kl_mean", reader).returncode == 0
    assert _type(verify, reader).returncode == 1
    # with the shipped limits some rows are skipped that nobody switched off
    assert _type(shipped, reader).returncode == 0
    refused = _type(verify, reader)
    assert refused.returncode == 1
    assert "got 'skipped'; expected 'pass', it has a limit." in refused.stdout + refused.stderr


@pytest.mark.slow
def test_the_mlflow_page_opens_on_the_runs(reader: Path) -> None:
    (command,) = (command for command in COMMANDS if command.startswith("mlflow ui"))
    tool = Path(sys.executable).parent / "mlflow"
    words = [str(tool), *command.split()[1:], "--port", "50871", "--workers", "1"]
    server = subprocess.Popen(
        words,
        cwd=reader,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert "MLflow" in _page("http://127.0.0.1:50871/")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=20)


def _page(address: str) -> str:
    until = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)


def test_the_readme_shows_the_two_set_ups() -> None:
    assert 'pip install ".[gguf]"' in COMMANDS
    assert 'pip install -e ".[dev]"' in COMMANDS
    assert shutil.which("pytest", path=str(Path(sys.executable).parent)) is not None
