"""A package of a team's own brings a check: its limits are in YAML, no file of qgate knows it."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.checks import own_checks
from qgate.errors import UsageError
from tests.conftest import ROOT, Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

CHECKS = """
from qgate import Check

CHECKS = (
    Check(name="json.valid", unit="fraction", bound="min", at_best=1.0, claim="Answers are JSON.",
          samples="answers"),
    Check(name="json.length", unit="words", bound="max", claim="Answers grew by no more."),
)
"""
CHECKLIST = """
import pytest
from qgate import Estimate

@pytest.mark.qgate("json.valid")
def test_valid(artifact, gate):
    gate.judge(Estimate.share(46, 50))

@pytest.mark.qgate("json.length")
def test_length(artifact, gate):
    gate.judge(Estimate.paired([2, 4, 7] * 9, [2, 4, 6] * 9, unit="words"))
"""
LIMITS = """version: 1
inherit: none
limits:
  json.valid: {min: 0.7, unit: fraction}
  json.length: {max: 0.6, rule: alarm}
schemes:
  Q8_0: {json.valid: {min: 0.95}}
artifacts:
  other: {json.length: off}
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Where the package is installed."""
    facts = tmp_path / "site" / "outside_checks-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: outside-checks\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[qgate.checks]\njson = outside.checks:CHECKS\n")
    package = facts.parent / "outside"
    package.mkdir()
    for name, text in (("__init__", ""), ("checks", CHECKS), ("test_json", CHECKLIST)):
        (package / f"{name}.py").write_text(text)
    return facts.parent


@pytest.fixture
def gate(project: Project, site: Path, toys: Callable[..., Path]) -> Callable[[str], Outcome]:
    """gate(limits) -> what a user sees of a run with this thresholds file."""
    models = toys(small=Toy(), large=Toy(scheme="Q8_0"), other=Toy())

    def run(limits: str) -> Outcome:
        project.write("own.yaml", limits)
        return project.pytest(
            f"--qgate={models}",
            "--qgate-runtime=fake",
            "--qgate-thresholds=own.yaml",
            "--pyargs",
            "outside.test_json",
            PYTHONPATH=str(site),
        )

    return run


def test_its_limits_are_in_yaml_and_its_rows_in_table_json_and_mlflow(
    project: Project, gate: Callable[[str], Outcome]
) -> None:
    seen = gate(LIMITS)

    assert seen.code == 1
    assert seen.verdicts("small") == {"json.valid": "pass", "json.length": "pass"}
    assert seen.verdicts("large") == {"json.valid": "inconclusive", "json.length": "pass"}
    assert seen.verdicts("other") == {"json.valid": "pass", "json.length": "skipped"}
    [row] = [
        row
        for artifact in seen.report()["artifacts"]
        for row in artifact["checks"]
        if (artifact["id"], row["name"]) == ("large", "json.valid")
    ]
    assert (row["unit"], row["value"], row["limit"]["min"]) == ("fraction", 0.92, 0.95)
    assert row["limit"]["source"] == "own.yaml:7"
    assert "n = 50 answers; own.yaml:7); about 150 more answers would decide" in row["message"]
    assert any(line.split()[:2] == ["json.valid", "92.0"] for line in seen.lines)
    assert any(line.split()[:3] == ["json.length", "0.3333", "words"] for line in seen.lines)
    with sqlite3.connect(project.directory / ".qgate" / "mlflow.db") as store:
        logged = dict(store.execute("SELECT key, value FROM metrics"))
    assert logged["json.valid"] == pytest.approx(0.92)


def test_its_limits_are_in_the_schema(project: Project, site: Path) -> None:
    environ = {"PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    schema = json.loads(project.run([sys.executable, "-m", "qgate", "schema"], **environ).out)
    assert schema["$defs"]["json.valid"]["description"] == "Answers are JSON."
    assert "json.valid" in schema["$defs"]["limits"]["properties"]


def test_a_projects_own_module_is_named_in_its_ini_file(
    project: Project, toys: Callable[..., Path]
) -> None:
    project.write("pytest.ini", "[pytest]\npythonpath = .\nqgate_checks =\n  ours:CHECKS\n")
    project.write("ours.py", CHECKS)
    project.write("test_ours.py", CHECKLIST)
    project.write("own.yaml", LIMITS)
    seen = project.gate_all(toys(small=Toy()), "--qgate-thresholds=own.yaml", "test_ours.py")

    assert (seen.code, seen.report()["verdict"]) == (0, "pass")
    assert set(seen.verdicts("small")) == {"json.valid", "json.length"}


TWICE_AND_SKIPPED = """
import pytest
from qgate import Estimate

@pytest.mark.qgate("json.valid")
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_valid(artifact, gate, share):
    gate.judge(Estimate.exact(share, "fraction"))

@pytest.mark.qgate("json.length")
def test_length(artifact, gate):
    pytest.skip("no data here")
"""


def test_of_two_tests_of_a_row_the_worse_counts_and_a_skipped_row_keeps_its_limit(
    site: Path, gate: Callable[[str], Outcome]
) -> None:
    (site / "outside" / "test_json.py").write_text(TWICE_AND_SKIPPED)
    seen = gate(LIMITS)

    assert seen.verdicts("small") == {"json.valid": "fail", "json.length": "skipped"}
    small = next(one for one in seen.report()["artifacts"] if one["id"] == "small")
    limits = {row["name"]: row["limit"]["source"] for row in small["checks"]}
    assert limits == {"json.valid": "own.yaml:4", "json.length": "own.yaml:5"}


def test_a_limit_that_no_test_measured_leaves_the_run_incomplete(
    gate: Callable[[str], Outcome],
) -> None:
    seen = gate(LIMITS.replace("  json.length", "  perplexity.ratio: {max: 1.1}\n  json.length", 1))
    assert seen.report()["verdict"] == "incomplete"
    assert seen.verdicts("small")["perplexity.ratio"] == "incomplete"


def test_wrong_limits_are_refused_each_at_its_line(gate: Callable[[str], Outcome]) -> None:
    lines = ("json.vaild: {min: 0.8}", "json.valid: {max: 0.8}", "json.length: {unit: tokens}")
    seen = gate("\n  ".join(["version: 1\nlimits:", *lines]))
    assert seen.code == 4
    for message in (
        "3: unknown check 'json.vaild' in limits. Did you mean 'json.valid'?",
        "4: json.valid: got max; expected min: less is worse.",
        "5: json.length.unit: got 'tokens'; expected words",
    ):
        assert f"own.yaml:{message}" in seen.text


NOT_CHECKS = """
from qgate import Check
WORD = "json.valid"
TAKEN = Check(name="edge.math", unit="ratio", bound="max", claim="Better.")
NAMED = Check(name="json", unit="ratio", bound="max", claim="Better.")
"""


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("own.nowhere:X", "got ModuleNotFoundError: No module named 'own"),
        ("own_objects:X", "got AttributeError: module 'own_objects' has no attribute 'X'"),
        ("own_objects:WORD", "got str; expected a qgate.Check or a tuple of them"),
        ("own_objects:TAKEN", "edge.math is another row already"),
        ("own_objects:NAMED", "got the name 'json'; expected area.name"),
    ],
)
def test_what_is_no_check_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, message: str
) -> None:
    (tmp_path / "own_objects.py").write_text(NOT_CHECKS)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UsageError) as error:
        own_checks([named])
    assert str(error.value).startswith(f"qgate_checks: {named}: {message}")
