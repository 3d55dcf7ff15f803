"""A gate that behaves like any other pytest run: outcomes, selection, reports."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from qgate.confinement.processors import usable_processors
from qgate.report.mlflow.content import name_experiment
from qgate.report.report_file import read_report
from tests.conftest import Toy
from tests.plugin.conftest import gating

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

INTEGRITY = ["files", "scheme", "weights", "tokenizer", "special_tokens", "chat_template"]
ROWS = [
    *(f"integrity.{name}" for name in INTEGRITY),
    "perplexity.increase",
    "perplexity.ratio",
    "divergence.kl_mean",
    "divergence.kl_p99",
    "divergence.same_top",
]
GOOD, BAD = Toy(noise=0.001), Toy(noise=0.5)


@pytest.fixture
def models(toys: Callable[..., Path]) -> Path:
    return toys(good=GOOD, bad=BAD)


def test_a_damaged_artifact_fails_and_a_good_one_passes(project: Project, models: Path) -> None:
    seen = project.gate(models, "--junitxml=junit.xml")

    assert seen.code == 1
    assert "4 failed, 16 passed, 2 skipped" in seen.lines[-1]
    shown = "perplexity.increase"  # on text of the reference's own
    others = {v for row, v in seen.verdicts("good").items() if row != shown}
    assert (others, seen.verdicts("good")[shown]) == ({"pass"}, "skipped")
    assert list(seen.verdicts("good")) == ROWS
    assert [row for row, verdict in seen.verdicts("bad").items() if verdict == "fail"] == ROWS[7:]
    line = next(line for line in seen.lines if line.startswith("perplexity.ratio: "))
    assert re.fullmatch(
        r"perplexity\.ratio: \d\.\d{3} \[\d\.\d{3}, \d\.\d{3}\] > 1\.162 \(95 % CI, look [12] of 2,"
        r" n = \d \d{3} tokens; thresholds/default\.yaml:\d+, 4 bits\);"
        r" see the worst windows in the report",
        line,
    )
    assert seen.message("bad", "perplexity.ratio") == line
    assert "Traceback" not in seen.text
    table = seen.out[seen.out.index("= qgate =") :]
    assert re.search(r"^bad  Q4_K_M .* FAIL$", table, re.MULTILINE)
    assert re.search(r"^good  Q4_K_M .* PASS$", table, re.MULTILINE)
    assert re.search(r"^smallest artifact that passes: good ", table, re.MULTILINE)
    check_report_fields(seen, models)
    check_junit(project.directory / "junit.xml")


def check_report_fields(seen: Outcome, models: Path) -> None:
    report = seen.report()
    assert report["schema_version"] == 1
    assert report["verdict"] == "fail"
    assert report["reference"]["id"] == "original"
    assert {"python", "platform", "qgate"} <= report["environment"].keys()
    assert report["mlflow"]["uploaded"] is False
    entry = report["artifacts"][1]
    assert entry["digest"].startswith("sha256:")
    assert entry["runtime"].items() >= {"name": "fake", "version": "1", "device": "cpu"}.items()
    path = models / "good.gguf"
    known = ("id", "path", "format", "scheme", "size_bytes", "verdict")
    assert {name: entry[name] for name in known} == {
        "id": "good",
        "path": str(path),
        "format": "gguf",
        "scheme": "Q4_K_M",
        "size_bytes": path.stat().st_size,
        "verdict": "pass",
    }
    row = next(row for row in entry["checks"] if row["name"] == "perplexity.ratio")
    assert row["low"] <= row["value"] <= row["high"] <= row["limit"]["max"] == 1.162
    assert (row["level"], row["unit"]) == (0.95, "ratio")
    assert row["n"] in (2212, 4437)  # half of the text, or all: the processor's last digits decide
    assert (entry["bits"]["effective"], row["limit"]["band"]) == (4.5, "4 bits")
    assert row["limit"]["rule"] == "certify"
    assert row["limit"]["source"].startswith("thresholds/default.yaml:")


def check_junit(path: Path) -> None:
    cases = {case.get("name"): case for case in ET.parse(path).iter("testcase")}
    assert len(cases) == 22
    for name, verdict in (("test_ratio[good]", "pass"), ("test_ratio[bad]", "fail")):
        properties = {p.get("name"): p.get("value") for p in cases[name].iter("property")}
        assert properties["qgate.verdict"] == verdict
        assert '"name": "perplexity.ratio"' in str(properties["qgate.result"])


def test_selecting_rows_keeps_the_exit_code_and_never_reads_as_a_pass(
    project: Project, models: Path
) -> None:
    for selection, count in (
        (("-k", "good and not ratio"), 9),
        (("-k", "good and divergence.kl_mean"), 1),
        (("-k", "good and (perplexity.ratio or divergence.kl_p99)"), 2),
        (("-k", "good", "-m", "perplexity"), 4),
        (("-k", "good", "-m", "integrity"), 6),
        (("--deselect", "test_perplexity.py", "-k", "good"), 6),
    ):
        seen = project.gate(models, *selection)
        assert (seen.code, f"{count} passed" in seen.lines[-1]) == (0, True), selection
        assert seen.report()["verdict"] == "incomplete"
        assert "incomplete" in seen.verdicts("bad").values()


def test_a_run_of_integrity_alone_belongs_to_its_reference(project: Project, models: Path) -> None:
    """Its report names the reference, which nothing was asked, and so does MLflow's experiment."""
    seen = project.gate(models, "-m", "integrity")

    reference = {"id": "original", "path": str(models / "original.gguf"), "scheme": "F32"}
    assert seen.report()["reference"].items() >= reference.items()
    report = read_report(seen.report(), "report")
    assert name_experiment(report) == "qgate/original"


def test_the_report_says_how_many_threads_there_were(project: Project, models: Path) -> None:
    project.write("three.yaml", "version: 1\nruntime: {threads: 3}\n")
    command = (*gating(models), "-k", "integrity.files")

    assert project.pytest(*command).report()["environment"]["threads"] == usable_processors()
    limited = project.pytest(*command, "--qgate-thresholds=three.yaml")
    assert limited.report()["environment"]["threads"] == 3


def test_strictly_a_narrowed_run_fails_and_says_which_rows_are_missing(
    project: Project, toys: Callable[..., Path]
) -> None:
    seen = project.gate(toys(good=GOOD), "-k", "not ratio", "--qgate-strict")

    assert seen.code == 1
    assert "--qgate-strict: 1 required rows were not measured: good: perplexity.ratio" in seen.lines


def test_selecting_nothing_is_not_a_pass(project: Project, models: Path) -> None:
    seen = project.gate(models, "-k", "no_such_row")

    assert seen.code == 5
    assert seen.report()["verdict"] == "incomplete"


def test_last_failed_runs_what_failed_and_x_stops_at_the_first(
    project: Project, models: Path
) -> None:
    first = project.gate(models, "-x")
    assert (first.code, "1 failed, 6 passed, 1 skipped" in first.lines[-3:][-1]) == (1, True)
    assert first.report()["verdict"] == "fail"

    again = project.gate(models, "--lf")
    assert again.code == 1
    assert re.search(r" 1 failed, \d+ deselected in ", again.lines[-1])


@pytest.mark.parametrize("where", [".", "sub"])
def test_a_printed_node_id_runs_exactly_that_row(
    project: Project, models: Path, where: str
) -> None:
    directory = project.directory / where
    directory.mkdir(exist_ok=True)
    failed = project.pytest(
        f"--qgate={models}",
        "--qgate-runtime=fake",
        "--qgate-mlflow-uri=http://127.0.0.1:9",
        "-k",
        "bad and same_top",
        cwd=directory,
    )
    (printed,) = re.findall(r"^FAILED (\S+)", failed.out, re.MULTILINE)

    seen = project.pytest(
        f"--qgate={models}",
        "--qgate-runtime=fake",
        "--qgate-mlflow-uri=http://127.0.0.1:9",
        printed,
        cwd=directory,
    )

    assert seen.code == 1
    assert "1 failed" in seen.lines[-1]
    assert "passed" not in seen.lines[-1]


def test_quiet_and_verbose_say_less_and_more(project: Project, models: Path) -> None:
    quiet = project.gate(models, "-q", "-k", "good")
    assert "test session starts" not in quiet.out
    assert re.search(r"\d+ passed, \d+ skipped, \d+ deselected", quiet.lines[-1])

    verbose = project.gate(models, "-v", "-k", "good and kl_p99")
    assert any("test_kl_p99[good] PASSED" in line for line in verbose.lines)


def test_without_the_plugin_its_option_is_unknown(project: Project, models: Path) -> None:
    seen = project.pytest("-p", "no:qgate", f"--qgate={models}")

    assert seen.code == 4
    assert "unrecognized arguments: --qgate=" in seen.text


def test_an_ordinary_run_is_left_alone(project: Project) -> None:
    project.write("test_own.py", "def test_own():\n    assert True\n")
    seen = project.pytest()

    assert seen.code == 0
    assert [line for line in seen.lines if line.startswith("qgate:")] == []
    assert not (project.directory / ".qgate").exists()


INI = """
[pytest]
python_files = check_*.py
python_functions = check
testpaths = specs
addopts = -W error --strict-markers
"""


def test_a_projects_own_settings_do_not_matter(project: Project, toys: Callable[..., Path]) -> None:
    project.write("pytest.ini", INI)
    project.write("specs/check_own.py", "def check_own():\n    assert False\n")
    seen = project.gate(toys(good=GOOD), "-W", "error")

    assert (seen.code, "10 passed, 1 skipped" in seen.lines[-1]) == (0, True)
    assert seen.report()["verdict"] == "pass"
