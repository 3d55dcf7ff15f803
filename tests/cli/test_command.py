"""`qgate` and `python -m qgate`, as users type them: all commands in one place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from qgate import __version__
from qgate.cli.doctor import describe
from qgate.runtimes import SHIPPED, find_spec
from qgate.runtimes.selection import Machine
from qgate.thresholds.schema import json_schema

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = (
    "demo", "init", "doctor", "show", "verify", "summary", "upload", "calibrate", "schema",
)  # fmt: skip


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "qgate", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_help_lists_every_command() -> None:
    done = run("--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert tuple(re.findall(r"^ {4}(\w+)", done.stdout, re.MULTILINE)) == COMMANDS


def test_the_version_is_that_of_the_package() -> None:
    assert run("--version").stdout == f"qgate {__version__}\n"


def test_the_program_is_the_same_function() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"qgate": "qgate.cli.main:main"}


def test_the_schema_is_that_of_the_thresholds() -> None:
    assert run("schema").stdout == json_schema({name: find_spec(name).options for name in SHIPPED})


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (("calibrate", "nowhere"), "python -m qgate calibrate: nowhere does not exist."),
        (("calibrate",), "python -m qgate calibrate: the following arguments are required: DIR"),
        (("demo", "--bad"), "python -m qgate demo: error: unrecognized arguments: --bad"),
        (("doctor", "--bad"), "python -m qgate: unrecognized arguments: --bad"),
    ],
)
def test_a_wrong_argument_is_exit_code_4_for_every_command(
    tmp_path: Path, arguments: tuple[str, ...], last: str
) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.splitlines()[-1] == last
    assert "Traceback" not in done.stderr


def test_the_demo_is_made_by_its_command(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    done = run("demo", str(tmp_path / "models"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"Now type: pytest --qgate {tmp_path / 'models'}"
    assert (tmp_path / "models" / "qgate-demo-Q4_K_M.gguf").is_file()


def test_the_doctor_says_what_is_here_and_what_installs_the_rest() -> None:
    bare = Machine(has_gpu=False, installed=frozenset(), builds={"transformers": "cpu"})

    first, *lines = describe(bare)

    assert first.startswith(f"qgate {__version__}, Python ")
    assert first.endswith(" CPU cores, no NVIDIA GPU")
    by_name = {line.split()[0]: line for line in lines}
    assert version("mlflow") in by_name["mlflow"]
    for line in lines:
        # what is not here names a command
        assert ("not installed" in line) == ("pip install" in line), line
    assert {"llama_cpp", "transformers", "vllm", "bitsandbytes", "lm-eval"} <= by_name.keys()


def test_the_doctor_runs_where_nothing_is_installed() -> None:
    done = run("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].startswith("llama_cpp ")
