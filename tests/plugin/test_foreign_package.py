"""PyPI has an unrelated `qgate`: installed over this one, it is named in one line."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import qgate

if TYPE_CHECKING:
    from tests.plugin.conftest import Project


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """This package, its `__init__.py` replaced as pip replaces it: the other modules stay."""
    package = tmp_path / "site" / "qgate"
    package.mkdir(parents=True)
    for path in Path(qgate.__file__).parent.iterdir():
        (package / path.name).symlink_to(path)
    (package / "__init__.py").unlink()
    (package / "__init__.py").write_text("from .gates import Gate\n__version__ = '0.0.3'\n")
    (package / "gates.py").write_text("class Gate: ...\n")
    return package.parent


@pytest.mark.parametrize("words", [["pytest", "--qgate=models"], ["qgate", "doctor"]])
def test_a_foreign_package_over_this_one_is_told(
    project: Project, site: Path, words: list[str]
) -> None:
    seen = project.run([sys.executable, "-m", *words], PYTHONPATH=str(site))

    assert (seen.code, seen.out) == (4, "")
    (line,) = seen.err.strip().splitlines()
    assert line.removeprefix("ERROR: ") == (
        f"{site / 'qgate' / '__init__.py'}: got another project's package qgate, installed over"
        " this one; expected that of pytest-qgate. Remove it with: pip uninstall -y qgate, and"
        " install pytest-qgate again with --force-reinstall"
    )


def test_ordinary_tests_run_all_the_same(project: Project, site: Path) -> None:
    project.write("test_own.py", "def test_it(): ...\n")
    assert project.pytest(PYTHONPATH=str(site)).code == 0
