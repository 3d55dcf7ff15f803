"""A team's own checks: ordinary pytest tests in their own repository, over the same fixtures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Project

FRENCH = """
import pytest
from qgate.records import Estimate

@pytest.mark.qgate("edge.french")
def test_french(artifact, gate):
    share = 0.30 if artifact.id == "bad" else 0.01
    wrong = Estimate(value=share, low=share - 0.005, high=share + 0.005, level=0.95, n=200,
                     unit="fraction", method="planted")
    gate.judge(wrong, max=0.10)
"""


@pytest.fixture
def models(toys: Callable[..., Path]) -> Path:
    return toys(good=Toy(noise=0.001), bad=Toy(noise=0.5))


def test_a_check_of_their_own_is_judged_and_reported(project: Project, models: Path) -> None:
    project.write("tests/test_french.py", FRENCH)
    seen = project.gate_all(models, "tests", "-m", "edge", "--strict-markers")

    assert seen.code == 1
    assert "1 failed, 1 passed" in seen.lines[-1]
    line = (
        "edge.french: 30.0 % [29.5 %, 30.5 %] > 10.0 % (95 % CI, n = 200 samples;"
        " tests/test_french.py:5); see the worst samples in the report"
    )
    assert line in seen.lines
    assert seen.verdicts("bad")["edge.french"] == "fail"
    assert seen.verdicts("good")["edge.french"] == "pass"
    assert seen.report()["verdict"] == "fail"


def test_beside_the_checklist_both_are_in_one_report(project: Project, models: Path) -> None:
    project.write("tests/test_french.py", FRENCH)
    rows = "good and (test_french or test_integrity or test_perplexity)"
    seen = project.gate(models, "--pyargs", "tests", "qgate.checklist", "-m", "", "-k", rows)

    assert (seen.code, "11 passed, 1 skipped" in seen.lines[-1]) == (0, True)
    assert {v for row, v in seen.verdicts("good").items() if row != "perplexity.increase"} == {
        "pass"
    }
    assert len(seen.verdicts("good")) == 12


def test_without_a_model_to_gate_it_is_skipped_with_a_reason(project: Project) -> None:
    project.write("tests/test_french.py", FRENCH)
    seen = project.pytest("-rs", "--strict-markers")

    assert seen.code == 0
    assert "1 skipped" in seen.lines[-1]
    assert "no artifact to gate: run pytest with --qgate=PATH" in seen.text


def test_without_a_model_a_project_has_its_own_marks_alone(project: Project) -> None:
    project.write("tests/test_own.py", "import pytest\n\n@pytest.mark.memory\ndef test_it(): ...\n")
    seen = project.pytest("--strict-markers")

    assert seen.code == 2
    assert "'memory' not found in `markers`" in seen.text


def test_without_a_model_a_lost_fixture_is_still_an_error(project: Project) -> None:
    project.write("tests/test_own.py", "def test_it(model, reference_model): ...\n")
    seen = project.pytest()

    assert (seen.code, "1 error" in seen.lines[-1]) == (1, True)
    assert "fixture 'model' not found" in seen.text


def test_a_check_without_a_name_says_how_to_name_it(project: Project, models: Path) -> None:
    project.write("tests/test_own.py", FRENCH.replace('@pytest.mark.qgate("edge.french")', ""))
    seen = project.gate_all(models, "tests", "-k", "good")

    assert seen.code == 1
    assert "Mark the test: @pytest.mark.qgate('area.name')" in seen.text


OWN_ARTIFACT = """
import pytest

@pytest.fixture
def artifact():
    return "a build of ours"

@pytest.fixture
def model(artifact):
    return artifact.upper()

def test_it(artifact, model):
    assert (artifact, model) == ("a build of ours", "A BUILD OF OURS")

@pytest.mark.parametrize("artifact", ["wheel", "sdist"])
def test_each(artifact):
    assert artifact in ("wheel", "sdist")
"""


@pytest.mark.parametrize("is_gating", [False, True])
def test_a_projects_own_fixture_called_artifact_wins(
    project: Project, models: Path, is_gating: bool
) -> None:
    project.write("tests/test_own.py", OWN_ARTIFACT)
    seen = project.gate_all(models, "tests") if is_gating else project.pytest("tests")

    assert (seen.code, "3 passed" in seen.lines[-1]) == (0, True)


def test_a_model_of_a_projects_plugin_wins_and_the_checklist_keeps_its_artifact(
    project: Project, models: Path
) -> None:
    offered = ("artifact", "model", "reference_model")
    fixtures = (f"@pytest.fixture\ndef {name}(): return 'of theirs'\n" for name in offered)
    project.write("shared.py", "\n".join(["import pytest", *fixtures]))
    project.write("conftest.py", "pytest_plugins = ['shared']\n")
    own = "def test_it(model, reference_model): assert model == reference_model == 'of theirs'\n"
    project.write("tests/test_own.py", own)
    words = "test_own or (good and test_integrity)"
    seen = project.gate(models, "--pyargs", "tests", "qgate.checklist", "-m", "", "-k", words)

    assert (seen.code, "7 passed" in seen.lines[-1]) == (0, True)
    assert set(seen.verdicts("good").values()) == {"pass", "incomplete"}


def test_an_unexpected_exception_in_a_check_is_an_error_with_its_traceback(
    project: Project, models: Path
) -> None:
    broken = FRENCH.replace("gate.judge(wrong, max=0.10)", "raise KeyError('prompts')")
    project.write("tests/test_french.py", broken)
    seen = project.gate_all(models, "tests")

    assert seen.code == 1
    assert "raise KeyError('prompts')" in seen.out
    assert seen.verdicts("good")["edge.french"] == "error"
    assert seen.message("good", "edge.french") == "KeyError: 'prompts'"


@pytest.mark.parametrize("when", ["call", "teardown"])
def test_a_row_that_holds_is_an_error_where_its_test_fails_afterwards(
    project: Project, models: Path, when: str
) -> None:
    project.write(
        "tests/test_own.py",
        "import pytest\nfrom qgate import Estimate\n\n"
        "@pytest.fixture\ndef clean():\n    yield\n"
        f"    assert {when != 'teardown'}, 'a file is left'\n\n"
        "@pytest.mark.qgate('edge.own')\ndef test_own(artifact, gate, clean):\n"
        "    gate.judge(Estimate.exact(0.1, 'ratio'), max=0.2)\n"
        f"    assert {when != 'call'}, 'a file is left'\n",
    )
    seen = project.gate_all(models, "tests", "-k", "good")

    assert seen.code == 1
    assert seen.verdicts("good")["edge.own"] == "error"
    line = "edge.own: its test failed after the row was judged: AssertionError: a file is left"
    assert seen.message("good", "edge.own").startswith(line)


def test_a_row_that_cannot_be_stored_is_an_error_of_its_row(project: Project, models: Path) -> None:
    project.write("tests/test_french.py", FRENCH.replace("n=200", 'n=200, p_value=float("nan")'))
    seen = project.gate_all(models, "tests", "-k", "good")

    assert (seen.code, "1 failed" in seen.lines[-1]) == (1, True)
    line = "edge.french: the row cannot be stored: ValueError: Out of range float values"
    assert seen.verdicts("good")["edge.french"] == "error"
    assert seen.message("good", "edge.french").startswith(line)
