"""A model directory full of code: nothing of it runs, and nothing is written into it.

What no plugin can promise: pytest reads the configuration file of its working directory, and of a
path that stands alone on the command line, before it loads plugins. With `addopts = -p conftest`
and `pythonpath = .` in such a file, `--qgate DIR` (and `cd DIR`) runs that code before qgate is
asked. `--qgate=DIR` from another directory does not. `python -m pytest` in a directory imports
from it whatever Python finds there first; the `pytest` command does not.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CORE, Project, gating

Toys = Callable[..., Path]
CODE = (
    "conftest.py",
    "setup.py",
    "test_model.py",
    "sitecustomize.py",
    "usercustomize.py",
    "__init__.py",
    "numpy.py",
    "qgate.py",
    "yaml.py",
    "modeling_custom.py",
)
INIS = {
    "pytest.ini": "[pytest]\naddopts = -q\n",
    "tox.ini": "[pytest]\naddopts = -q\n",
    "setup.cfg": "[tool:pytest]\naddopts = -q\n",
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-q'\n",
}


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (writing(self.marker, "pickle"),)


def writing(marker: Path, name: str) -> str:
    """One line of code, as a .pth file runs it."""
    return f"import pathlib; pathlib.Path({str(marker)!r}).write_text({name!r})\n"


def plant(directory: Path, marker: Path) -> None:
    """Put code into a model directory; each piece would write the marker."""
    for name in CODE:
        (directory / name).write_text(writing(marker, name))
    (directory / "evil.pth").write_text(writing(marker, "pth"))
    for name in ("pytorch_model.bin", "model.pkl"):
        (directory / name).write_bytes(pickle.dumps(Bomb(marker)))


def listing(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def marker(tmp_path: Path, project: Project) -> Path:
    """What code that ran has written: not even a child that is free runs any."""
    project.write("pytest.ini", "[pytest]\nqgate_confine = off\n")
    return tmp_path / "it-ran"


@pytest.fixture
def models(toys: Toys, marker: Path) -> Path:
    directory = toys(good=Toy(noise=0.001))
    plant(directory, marker)
    return directory


def test_the_planted_code_would_run(models: Path, marker: Path, project: Project) -> None:
    pickle.loads((models / "model.pkl").read_bytes())
    assert marker.read_text() == "pickle"
    marker.unlink()
    project.pytest(str(models), "-p", "no:qgate")
    assert marker.read_text() in CODE


@pytest.mark.parametrize("is_inside", [False, True], ids=["outside", "inside"])
def test_both_spellings_do_the_same_and_run_nothing(
    project: Project, models: Path, marker: Path, is_inside: bool
) -> None:
    if is_inside:  # with a name that pytest looks into by itself
        models = models.rename(project.directory / "models")
    settings = "qgate_confine = off\nqgate_thresholds = limits.yaml\n"
    project.write("pytest.ini", f"[pytest]\n{settings}")
    project.write("limits.yaml", "version: 1\nlimits:\n  perplexity.ratio: {max: 1.0321}\n")
    before = listing(models)
    rest = [*gating(models)[1:], *CORE]
    seen = []
    for spelling in ([f"--qgate={models}"], ["--qgate", str(models)]):
        ran = project.pytest(*spelling, *rest, "-v")
        ids = project.pytest(*spelling, *rest, "--collect-only", "-q").node_ids()
        report = ran.report()
        (project.directory / ".qgate" / "report.json").unlink()
        (row,) = [r for r in report["artifacts"][0]["checks"] if r["name"] == "perplexity.ratio"]
        assert row["limit"]["max"] == 1.0321
        assert row["limit"]["source"] == "limits.yaml:3"
        rows = [
            (row["name"], row["verdict"], row["value"]) for row in report["artifacts"][0]["checks"]
        ]
        rootdir = [line for line in ran.lines if line.startswith(("rootdir:", "configfile:"))]
        seen.append((ran.code, rows, ids, rootdir, (project.directory / ".pytest_cache").is_dir()))

    assert seen[0] == seen[1]
    assert seen[0][0] == 0
    assert len(seen[0][2]) == 11
    assert not marker.exists()
    assert listing(models) == before


def test_without_any_configuration_both_spellings_have_one_root(
    project: Project, models: Path, marker: Path
) -> None:
    (project.directory / "pytest.ini").unlink()
    rest = gating(models)[1:]
    seen = [
        project.pytest(*spelling, *rest, "--collect-only", "-q")
        for spelling in ([f"--qgate={models}"], ["--qgate", str(models)])
    ]

    assert seen[0].node_ids() == seen[1].node_ids() != []
    assert not marker.exists()


@pytest.mark.parametrize("name", INIS)
def test_a_configuration_in_the_model_directory_is_refused_or_unseen(
    project: Project, models: Path, marker: Path, name: str
) -> None:
    (models / name).write_text(INIS[name])
    before = listing(models)
    rest = gating(models)[1:]
    spaced = project.pytest("--qgate", str(models), *rest)
    within = project.pytest("--qgate=.", *rest, cwd=models)
    joined = project.pytest(f"--qgate={models}", *rest, "--collect-only", "-q")

    for seen in (spaced, within):
        assert seen.code == 4
        assert (
            f"ERROR: --qgate: {models}/{name}: a pytest configuration file inside the model"
            f" directory: got {name}; expected none. Models do not configure pytest:"
            " write --qgate=DIR from another directory, or name yours with -c"
        ) in seen.lines
    assert (joined.code, len(joined.node_ids())) == (0, 34)
    assert not marker.exists()
    assert listing(models) == before


def test_a_pyproject_that_is_not_about_pytest_changes_nothing(
    project: Project, models: Path, marker: Path
) -> None:
    (models / "pyproject.toml").write_text("[project]\nname = 'a-model'\n")
    before = listing(models)
    seen = project.pytest("--qgate", str(models), *gating(models)[1:], *CORE)

    assert seen.code == 0
    assert (project.directory / ".qgate" / "report.json").exists()
    assert not marker.exists()
    assert listing(models) == before


@pytest.mark.parametrize("place", [".", "test-models"])
def test_a_conftest_that_pytest_would_import_by_itself_is_refused(
    project: Project, models: Path, marker: Path, place: str
) -> None:
    """Of the working directory, and of directories in it whose names begin with `test`."""
    if place != ".":
        models = models.rename(project.directory / place)
    where = models if place == "." else project.directory
    before = listing(models)
    seen = project.pytest(f"--qgate={place}", *gating(models)[1:], cwd=where)

    assert seen.code == 4
    assert (
        f"ERROR: --qgate: {models}/conftest.py: pytest would run this file: got a conftest.py"
        " inside the model directory; expected none where pytest starts. Run pytest from another"
        " directory"
    ) in seen.lines
    assert not marker.exists()
    assert listing(models) == before


def test_a_run_from_inside_the_model_directory_is_refused_for_it_would_write_there(
    project: Project, models: Path, marker: Path
) -> None:
    before = listing(models)
    rest = [*gating(models)[1:], "--noconftest", "-p", "no:cacheprovider"]
    seen = project.pytest("--qgate=.", *rest, "-m", "integrity", cwd=models)

    assert seen.code == 4
    assert (
        f"ERROR: --qgate: .: pytest was invoked inside the model directory: got {models};"
        " expected a directory that reports can be written to. Run it from another one"
    ) in seen.lines
    assert not marker.exists()
    assert listing(models) == before


def test_another_options_path_does_not_move_the_project_either(
    project: Project, models: Path, tmp_path: Path
) -> None:
    limits = tmp_path / "elsewhere" / "limits.yaml"
    limits.parent.mkdir()
    limits.write_text("version: 1\nlimits:\n  perplexity.ratio: {max: 1.5}\n")
    (limits.parent / "pytest.ini").write_text("[pytest]\nqgate_runtime = llama_cpp\n")
    project.write("pytest.ini", "[pytest]\nqgate_runtime = fake\n")
    rest = (gating(models)[2], *CORE)
    seen = project.pytest(f"--qgate={models}", "--qgate-thresholds", str(limits), *rest)

    assert seen.code == 0
    assert f"rootdir: {project.directory}" in seen.lines
