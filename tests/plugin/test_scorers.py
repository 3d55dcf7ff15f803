"""A task's answers graded by a function of the team's own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError, ThresholdsError
from qgate.measure.tasks.scorers import Scorer, find_scorer
from tests.conftest import Toy, write_toy
from tests.plugin.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

SCORERS = """
def is_answer(answer, expected):
    return bool(answer)

def half(answer, expected):
    return 0.5 if expected == "yes" else 0.0

def broken(answer, expected):
    raise KeyError(expected)

WORD = "half"
"""
TASK = """version: 1
inherit: none
tasks:
  own: {{file: own.jsonl, score: "{score}", max_drop: 0.3, max_tokens: 4, rule: alarm{more}}}
"""


@pytest.fixture
def gate(project: Project, tmp_path: Path) -> Callable[..., Outcome]:
    """gate(score, more) -> what a user sees of a run of that task."""
    pytest.importorskip("gguf")
    project.write("pytest.ini", "[pytest]\npythonpath = .\n")
    project.write("scorers.py", SCORERS)
    project.write("conftest.py", "import scorers\nqgate_scorers = {'ours': scorers.half}\n")
    items = [{"prompt": f"Is {number} a number?", "answer": "yes"} for number in range(60)]
    project.write("own.jsonl", "".join(f"{json.dumps(item)}\n" for item in items))
    models = tmp_path / "models"
    models.mkdir()
    write_toy(models / "original.gguf", Toy(scheme="F32", vocabulary=256, context=LONG))
    write_toy(models / "good.gguf", Toy(noise=0.001, vocabulary=256, context=LONG))

    def run(score: str, more: str = "") -> Outcome:
        project.write("own.yaml", TASK.format(score=score, more=more))
        return project.gate_all(models, "--qgate-thresholds=own.yaml", "-m", "accuracy")

    return run


@pytest.mark.parametrize(
    ("score", "method"),
    [("scorers:is_answer", "Tango score"), ("ours", "paired t, skewness-corrected")],
)
def test_right_or_wrong_and_scores_are_compared_as_those_of_a_metric(
    gate: Callable[..., Outcome], score: str, method: str
) -> None:
    seen = gate(score)

    assert (seen.code, seen.verdicts("good")) == (0, {"accuracy.own": "pass"}), seen.text
    [artifact] = seen.report()["artifacts"]
    [row] = [row for row in artifact["checks"] if row["name"] == "accuracy.own"]
    assert row["method"].startswith(method)
    assert row["details"]["share"] == (0.5 if score == "ours" else 1.0)


def test_a_scorer_that_fails_is_an_error_of_its_row_in_one_line(
    gate: Callable[..., Outcome],
) -> None:
    seen = gate("scorers:broken")

    assert seen.verdicts("good") == {"accuracy.own": "error"}
    assert seen.message("good", "accuracy.own").endswith("score scorers:broken: KeyError: 'yes'")
    assert "Traceback" not in seen.text


@pytest.mark.parametrize(
    ("score", "more", "message"),
    [
        ("scorers:nothing", "", "got scorers:nothing: AttributeError: module 'scorers' has no"),
        ("scorers:WORD", "", "got scorers:WORD, which is str; expected a function"),
        (
            "nothing",
            "",
            "got nothing; expected module:function, a name in qgate_scorers of conftest.py, or an"
            " entry point of qgate.scorers. Known: ours",
        ),
        ("scorers:half", ", metric: numeric", "score"),
    ],
)
def test_what_is_no_scorer_ends_the_run_at_its_line(
    gate: Callable[..., Outcome], score: str, more: str, message: str
) -> None:
    seen = gate(score, more)

    assert seen.code == 4
    assert "own.yaml:4: tasks.own" in seen.text
    assert message in seen.text


def test_a_package_brings_one_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = tmp_path / "outside_scorers-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-scorers\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[qgate.scorers]\nhalf = outside_scorers:half\n")
    (tmp_path / "outside_scorers.py").write_text(SCORERS)
    monkeypatch.syspath_prepend(tmp_path)

    assert find_scorer("half", "own.yaml:4", {})("anything", "yes") == 0.5
    with pytest.raises(ThresholdsError, match=r"own.yaml:4: got hafl; .* Known: half"):
        find_scorer("hafl", "own.yaml:4", {})


@pytest.mark.parametrize("value", [1.5, float("nan")])
def test_a_score_is_a_number_from_0_to_1(value: float) -> None:
    scorer = Scorer(name="own", function=lambda *_: value)
    with pytest.raises(MeasurementError, match=f"score own: got {value}; expected a number"):
        scorer("a", "b")


def test_two_functions_by_one_name_are_refused(project: Project) -> None:
    project.write("conftest.py", "pytest_plugins = ['more']\nqgate_scorers = {'half': len}\n")
    project.write("more.py", "qgate_scorers = {'half': str}\n")

    seen = project.pytest("--qgate=models", PYTHONPATH=str(project.directory))

    assert seen.code == 4
    assert "qgate_scorers: got half, which " in seen.err
    assert " names too; expected one function by that name. Rename one of them" in seen.err
