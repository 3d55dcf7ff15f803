"""What `python -m qgate.calibrate` cannot work with is told in one line, and leaves no entry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.calibrate import main
from tests.conftest import Toy, write_toy
from tests.plugin.conftest import LONG, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project


@pytest.fixture
def calibrate(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Outcome]:
    """calibrate(*arguments) -> what a user sees, in this process."""
    monkeypatch.chdir(project.directory)

    def run(*arguments: str | Path) -> Outcome:
        try:
            code: Any = main([str(argument) for argument in arguments])
        except SystemExit as ended:
            code = ended.code
        out, err = capsys.readouterr()
        return Outcome(code=code, out=out, err=err, directory=project.directory)

    return run


def line_of(outcome: Outcome) -> str:
    """The one line that a run which measured nothing says."""
    assert outcome.code == 2, outcome.text
    assert outcome.out == ""
    [line] = outcome.err.splitlines()
    return line


def test_without_a_reference_it_says_how_to_name_one(
    calibrate: Callable[..., Outcome], toy: Path
) -> None:
    toy.unlink()
    write_toy(toy.with_name("quantized.gguf"), Toy())

    line = line_of(calibrate(toy.parent, "--runtime", "fake"))

    assert line == (
        f"{toy.parent}: no reference: got quantized models only; expected an unquantized one in or"
        " beside it. Name one with --reference PATH"
    )


def test_an_unknown_runtime_is_refused_with_the_ones_there_are(
    calibrate: Callable[..., Outcome], toy: Path
) -> None:
    line = line_of(calibrate(toy, "--runtime", "fkae"))

    assert line.startswith("--runtime: unknown runtime: got 'fkae'; expected one of fake, ")
    assert line.endswith("Did you mean 'fake'?")


def test_a_json_file_that_cannot_be_written_is_refused_before_anything_is_measured(
    calibrate: Callable[..., Outcome], project: Project, toy: Path
) -> None:
    (project.directory / "taken").mkdir()

    line = line_of(calibrate(toy, "--runtime", "fake", "--json", "taken"))

    assert line == (
        "taken: the report cannot be written: got a directory; expected a file."
        " Name another one with --json FILE."
    )
    assert not (project.directory / ".qgate").exists()


def test_a_file_that_is_no_noise_is_kept_and_refused_before_anything_is_measured(
    calibrate: Callable[..., Outcome], project: Project, toy: Path
) -> None:
    mine = project.write("mine.json", '{"mine": true}')

    line = line_of(calibrate(toy, "--runtime", "fake", "--json", "mine.json"))

    assert line.startswith(
        "mine.json: schema_version: got nothing; expected an integer >= 0. Delete it"
    )
    assert mine.read_text() == '{"mine": true}'
    assert not (project.directory / ".qgate").exists()


def test_a_runtime_that_crashes_leaves_no_entry(
    calibrate: Callable[..., Outcome], project: Project, toy: Path, brief: Path
) -> None:
    write_toy(toy, Toy(scheme="F32", vocabulary=256, context=LONG, fault="segfault:score"))

    line = line_of(calibrate(toy, "--runtime", "fake", "--thresholds", brief))

    assert "original" in line
    assert "SIGSEGV" in line
    assert not (project.directory / ".qgate" / "noise.json").exists()


def test_a_store_that_is_none_is_refused_before_anything_is_measured(
    calibrate: Callable[..., Outcome], project: Project, toy: Path
) -> None:
    file = project.write(".qgate/references", "kept")

    line = line_of(calibrate(toy, "--runtime", "fake"))

    assert line == (
        f"{file}: got a file; expected a directory. Move it away, or start it in another directory"
    )


def test_what_the_store_has_to_say_is_said(
    calibrate: Callable[..., Outcome], toy: Path, brief: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_toy(toy, Toy(scheme="F32", vocabulary=256, context=LONG, fault="segfault:answer"))
    monkeypatch.setenv("XDG_DATA_HOME", "/proc/nowhere")

    seen = calibrate(toy, "--runtime", "fake", "--thresholds", brief)

    assert seen.code == 0
    note = seen.err.splitlines()[-1]
    assert note.startswith("store: nothing is kept for later runs: no key to sign it with (")


def test_what_is_required_of_confining_holds_without_thresholds_too(
    calibrate: Callable[..., Outcome],
    project: Project,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    project.write("pytest.ini", "[pytest]\nqgate_confine = require\n")
    (tmp_path / "no-programs").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "no-programs"))

    line = line_of(calibrate(toy, "--runtime", "fake"))

    assert line.startswith(
        "qgate_confine: the runtime cannot be confined: got bwrap: not installed"
    )
    assert not (project.directory / ".qgate" / "noise.json").exists()


def test_nothing_is_written_into_a_model_directory(
    calibrate: Callable[..., Outcome], project: Project
) -> None:
    write_toy(project.directory / "original.gguf", Toy(scheme="F32"))
    project.write("conftest.py", "open('ran', 'w')\n")
    limits = project.write("limits.yaml", "version: 1\n")

    line = line_of(calibrate(".", "--runtime", "fake", "--thresholds", limits))

    assert line.startswith(".: started inside the model directory: got ")
    assert not (project.directory / ".qgate").exists()
    assert not (project.directory / "ran").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "python -m qgate calibrate: the following arguments are required: DIR"),
        (("models", "--rutime", "fake"), "python -m qgate: unrecognized arguments: --rutime fake"),
        (("models", "--thresholds", "nowhere.yaml"), "nowhere.yaml: no such thresholds file"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    calibrate: Callable[..., Outcome], arguments: tuple[str, ...], told: str
) -> None:
    assert told in line_of(calibrate(*arguments))
