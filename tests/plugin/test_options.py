"""What an ini file says of the interpreter that has vLLM."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import UsageError
from qgate.plugin.options import Options

if TYPE_CHECKING:
    from pathlib import Path


def read(pytester: pytest.Pytester, said: str) -> Options:
    """Options of a run in a directory below the one whose ini file says this."""
    pytester.makeini(f"[pytest]\n{said}\n")
    (pytester.path / "vllm-env").mkdir(exist_ok=True)
    return Options.from_config(pytester.parseconfig("vllm-env"))


def test_without_a_word_there_is_no_interpreter_for_vllm(pytester: pytest.Pytester) -> None:
    assert read(pytester, "").pythons == {}


def test_the_interpreter_for_vllm_is_relative_to_the_ini_file(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pytester.path / "python").symlink_to(sys.executable)
    elsewhere = pytester.mkdir("elsewhere")
    monkeypatch.chdir(elsewhere)
    options = read(pytester, "qgate_vllm_python = python")
    # not resolved: a virtual environment's interpreter is a link and must be started as one
    assert options.pythons == {"vllm": pytester.path / "python"}


def test_the_interpreter_for_vllm_may_be_anywhere(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.symlink_to(sys.executable)
    assert read(pytester, f"qgate_vllm_python = {python}").pythons == {"vllm": python}


@pytest.mark.parametrize("given", ["no-such-python", "vllm-env", "notes.txt"])
def test_what_is_no_interpreter_is_refused(pytester: pytest.Pytester, given: str) -> None:
    (pytester.path / "notes.txt").write_text("not executable")
    with pytest.raises(UsageError) as refusal:
        read(pytester, f"qgate_vllm_python = {given}")
    assert str(refusal.value) == (
        f"qgate_vllm_python: got {given!r}; expected an executable file, absolute or relative to"
        " the ini file. Name the python of the environment that vLLM is installed in"
    )


def test_effort_is_what_the_command_line_says_and_else_the_ini_file(
    pytester: pytest.Pytester,
) -> None:
    assert read(pytester, "").effort is None
    assert read(pytester, "qgate_effort = quick").effort == "quick"
    config = pytester.parseconfig("vllm-env", "--qgate-effort=thorough")
    assert Options.from_config(config).effort == "thorough"


def test_scorers_that_are_no_dictionary_are_refused(pytester: pytest.Pytester) -> None:
    place = pytester.makeconftest("qgate_scorers = ['half']")
    with pytest.raises(UsageError) as refusal:
        read(pytester, "")
    expected = "qgate_scorers: got list; expected a dictionary of names and functions"
    assert str(refusal.value) == f"{place}: {expected}"
