"""`qgate` and `python -m qgate`, as users type them: all commands in one place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from qgate import __version__
from qgate.cli.doctor import describe
from qgate.runtimes.selection import Machine
from qgate.runtimes.spec import RuntimeSpec

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


def test_the_old_name_of_the_schema_prints_it_and_says_the_new_one() -> None:
    command = [sys.executable, "-m", "qgate.thresholds"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout == (ROOT / "thresholds" / "schema.json").read_text()
    assert done.stderr == "python -m qgate.thresholds is deprecated. Write: qgate schema\n"


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (("calibrate", "nowhere"), "nowhere does not exist."),
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


def doctor(**facts: Any) -> tuple[str, list[str], dict[str, str], dict[str, str]]:
    """First line, what is installed, formats by what serves them, formats by what they need."""
    first, *lines = describe(Machine(**{"has_gpu": False, "installed": frozenset(), **facts}))
    assert max(map(len, [first, *lines])) <= 100
    text = re.sub(r"\n {4}", " ", "\n".join(lines))  # wrapped lines
    installed, served, others = (
        [line.strip() for line in part.splitlines() if line.startswith("  ")]
        for part in re.split(r"^formats .*:$", text, flags=re.MULTILINE)
    )
    by_format = [
        {name: how for names, how in (row.split(": ", 1) for row in rows if ": " in row)
         for name in names.split(", ")}
        for rows in (served, others)
    ]  # fmt: skip
    return first, installed, by_format[0], by_format[1]


def test_the_doctor_says_what_is_here_and_what_installs_the_rest() -> None:
    first, installed, served, others = doctor(builds={"transformers": "cpu"})

    assert first.startswith(f"qgate {__version__}, Python ")
    assert first.endswith(" CPU cores, no NVIDIA GPU")
    by_name = {line.split()[0]: line for line in installed}
    assert version("mlflow") in by_name["mlflow"]
    assert {"llama_cpp", "transformers", "vllm", "lm-eval"} <= by_name.keys()
    for line in installed:
        # what is not here names a command
        assert ("not installed" in line) == ("pip install" in line), line
    assert served == {}
    assert others["GGUF"] == 'pip install "pytest-qgate[gguf]"'
    assert others["fp8"] == (
        'pip install "pytest-qgate[transformers]", then an NVIDIA GPU, then pip install'
        ' "kernels>=0.12.0"'
    )


def test_the_doctor_lists_the_formats_that_can_be_served_on_this_machine() -> None:
    runtimes = frozenset({"llama_cpp", "transformers", "vllm"})
    *_, served, others = doctor(installed=runtimes, builds={"vllm": "cpu"})

    assert (served["GGUF"], served["gptq"]) == ("llama_cpp", "vllm")
    assert served["unquantized Hugging Face"] == "transformers or vllm"
    assert others["modelopt"] == "an NVIDIA GPU"
    *_, served, _ = doctor(installed=runtimes, has_gpu=True)
    assert served["modelopt"] == "vllm"
    assert served["mxfp8"] == "transformers"


def test_the_doctor_runs_on_this_machine() -> None:
    done = run("doctor")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == "installed:"


def test_the_doctor_names_a_format_that_it_does_not_know() -> None:
    other = RuntimeSpec(
        name="other",
        title="Other",
        adapter="other:Other",
        formats=frozenset({"onnx"}),  # type: ignore[arg-type]
        distributions=("other-runtime",),
    )
    _, installed, _, _ = doctor(runtimes=(other,))
    assert any(line.split()[:4] == ["other", "not", "installed", "onnx:"] for line in installed)


SHADOWED = ("argparse", "json", "numpy", "yaml", "mlflow", "gguf", "llama_cpp", "pydantic")


@pytest.mark.parametrize(
    "arguments",
    [("qgate", "doctor"), ("qgate", "schema"), ("qgate.demo", "--bad"), ("qgate.calibrate", "x")],
)
def test_no_module_of_the_working_directory_is_imported(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    """Of another project, or of a stranger: `python -m` would look there first."""
    for name in SHADOWED:
        planted = f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\n"
        (tmp_path / f"{name}.py").write_text(planted)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}

    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=tmp_path,
        env={**environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.stdout + done.stderr
    assert not (tmp_path / "ran").exists(), (tmp_path / "ran").read_text()
