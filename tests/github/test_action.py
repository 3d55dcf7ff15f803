"""The scripts of the composite action and of the gate's workflow, run as the runner runs them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.records import Verdict
from qgate.report.report_file import write
from tests.conftest import Toy
from tests.github.conftest import Stub
from tests.github.runner import GITHUB, Runner, load
from tests.plugin.conftest import CLOSED_PORT

if TYPE_CHECKING:
    from qgate.records import Report

LIMITS = """\
version: 1
inherit: none
text: {source: generated, windows: 16}
limits:
  perplexity.ratio: {max: 1.05}
  divergence.kl_mean: {max: 0.06}
"""
Stubbed = Callable[..., Stub]
Toys = Callable[..., Path]
OFFLINE = f"--qgate-runtime=fake\n--qgate-mlflow-uri={CLOSED_PORT}"
HOSTILE = (
    "models/with space.gguf",
    " leading and trailing ",
    "-rf",
    "--collect-only",
    "$(touch it-ran)",
    "`touch it-ran`",
    '"; touch it-ran; "',
    "'; touch it-ran; '",
    "a && touch it-ran",
    "${HOME}$HOME",
    "*.gguf",
    "~",
    "back\\slash\\",
    "%0A::error::x",
    "::add-mask::x",
    "${{ github.token }}",
    "#no comment",
    "模型.gguf",
)


def _options(arguments: list[str] | None, name: str) -> list[str]:
    head = f"--{name}="
    return [word.removeprefix(head) for word in arguments or [] if word.startswith(head)]


def test_pytest_is_asked_strictly_and_for_a_report(stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0, passing)
    ended = stub.runner.run_action(models="models")
    assert stub.arguments == [
        "--qgate-strict",
        "--qgate-json=.qgate/report.json",
        "--junitxml=.qgate/junit.xml",
        "--qgate=models",
    ]
    assert ended.holds
    assert ended.outputs == {"verdict": "pass", "report": ".qgate/report.json"}


def test_what_is_named_is_passed_on(stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0, passing)
    ended = stub.runner.run_action(
        models="one.gguf\n\ntwo models\n",
        reference="the original.gguf",
        thresholds="limits.yaml",
        pytest_args="-k\nQ8_0 and kl_mean\n--maxfail=1\n",
        report="out/the report.json",
        junit="out/junit.xml",
    )
    assert stub.arguments == [
        "--qgate-strict",
        "--qgate-json=out/the report.json",
        "--junitxml=out/junit.xml",
        "--qgate-reference=the original.gguf",
        "--qgate-thresholds=limits.yaml",
        "--qgate=one.gguf",
        "--qgate=two models",
        "-k",
        "Q8_0 and kl_mean",
        "--maxfail=1",
    ]
    assert ended.outputs == {"verdict": "pass", "report": "out/the report.json"}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_path_only_names_a_file(name: str, stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0, passing)
    place = f"out/{name}/report.json"
    ended = stub.runner.run_action(
        models=name, reference=name, thresholds=name, pytest_args=name, report=place
    )
    for option in ("qgate", "qgate-reference", "qgate-thresholds"):
        assert _options(stub.arguments, option) == [name]
    assert stub.arguments is not None
    assert stub.arguments[-1] == name
    assert ended.outputs == {"verdict": "pass", "report": place}
    assert [path.name for path in stub.runner.workspace.iterdir()] == ["out"]
    assert [step.commands for step in ended.steps.values()] == [[], [], []]


def test_a_newline_in_a_path_makes_two_paths(stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0, passing)
    stub.runner.run_action(models="a\n$(touch it-ran)\n--collect-only")
    assert _options(stub.arguments, "qgate") == ["a", "$(touch it-ran)", "--collect-only"]
    assert [path.name for path in stub.runner.workspace.iterdir()] == [".qgate"]


@pytest.mark.parametrize(
    "place", ["out\nverdict=pass", "out\nverdict<<x\npass\nx", "o\n::error::x", "-"]
)
def test_a_newline_in_the_reports_path_sets_no_other_output(
    place: str, stubbed: Stubbed, passing: Report
) -> None:
    ended = stubbed(1, passing).runner.run_action(models="models", report=place)
    assert ended.outputs == {"verdict": "error", "report": place}
    assert [step.commands for step in ended.steps.values()] == [[], [], []]


@pytest.mark.parametrize("models", ["", "\n\n"])
def test_no_model_is_refused_in_one_line(models: str, stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0, passing)
    ended = stub.runner.run_action(models=models)
    assert stub.arguments is None
    assert ended.steps["gate"].code == 4
    assert ended.steps["gate"].err == "models: got none; expected at least one path.\n"
    assert ended.outputs["verdict"] == "error"


WORDS = [verdict.value for verdict in Verdict if verdict is not Verdict.SKIPPED]


@pytest.mark.parametrize(("code", "word"), list(itertools.product((0, 1, 139), WORDS)))
def test_only_exit_code_0_and_a_passing_report_together_hold(
    code: int, word: str, stubbed: Stubbed, passing: Report
) -> None:
    told = dataclasses.replace(passing, verdict=Verdict(word))
    ended = stubbed(code, told).runner.run_action(models="models")
    assert ended.holds is (code == 0 and word == "pass")
    contradicts = word == "pass" and code != 0
    assert ended.outputs["verdict"] == ("error" if contradicts else word)
    page = ended.steps["summary"].summary.decode()
    assert page.startswith(f"### qgate: {word.upper()}\n")


def test_without_a_report_nothing_holds(stubbed: Stubbed) -> None:
    ended = stubbed(0).runner.run_action(models="models")
    assert [step.code for step in ended.steps.values()] == [0, 4, 4]
    assert ended.outputs == {"verdict": "error", "report": ""}


def test_an_older_report_does_not_speak_for_this_run(stubbed: Stubbed, passing: Report) -> None:
    stub = stubbed(0)
    old = stub.runner.workspace / ".qgate" / "report.json"
    write(passing, old)
    ended = stub.runner.run_action(models="models")
    assert not ended.holds
    assert ended.outputs == {"verdict": "error", "report": ""}
    assert not old.exists()


def test_a_module_in_the_workspace_does_not_speak(stubbed: Stubbed, report: Report) -> None:
    stub = stubbed(0, report)
    for name in ("qgate", "json", "argparse"):
        path = stub.runner.workspace / f"{name}.py"
        path.write_text("raise SystemExit(0)\n", encoding="utf-8")
    ended = stub.runner.run_action(models="models")
    assert [step.code for step in ended.steps.values()] == [0, 0, 1]
    assert ended.outputs["verdict"] == "error"
    assert len(ended.steps["summary"].commands) == 5


@pytest.mark.parametrize("noise", [0.0005, 3.0], ids=["good", "bad"])
def test_a_real_run_end_to_end(noise: float, runner: Runner, toys: Toys) -> None:
    models = toys(**{"with $(touch it-ran) space": Toy(noise=noise)})
    (runner.workspace / "my, limits.yaml").write_text(LIMITS, encoding="utf-8")
    ended = runner.run_action(
        models=str(models),
        thresholds="my, limits.yaml",
        # the rows that those limits are on; a toy cannot do what the others ask
        pytest_args=f"{OFFLINE}\n-m\nperplexity or integrity",
    )
    good = noise < 1
    assert ended.steps["gate"].code == (0 if good else 1), ended.steps["gate"].out
    assert ended.holds is good
    assert ended.outputs == {
        "verdict": "pass" if good else "fail",
        "report": ".qgate/report.json",
    }
    page = ended.steps["summary"].summary.decode()
    assert page.startswith(f"### qgate: {'PASS' if good else 'FAIL'}\n")
    assert "with $(touch it-ran) space" in page
    told = [command.properties for command in ended.steps["summary"].commands]
    places = [(properties["file"], properties["line"]) for properties in told]
    assert places == ([] if good else [("my, limits.yaml", "5"), ("my, limits.yaml", "6")])
    assert (runner.workspace / ".qgate" / "junit.xml").exists()
    assert not (runner.workspace / "it-ran").exists()


def test_a_real_run_on_a_hostile_path_fails_in_one_line(runner: Runner) -> None:
    name = "-rf $(touch it-ran) `touch it-ran`; \"' && touch it-ran *"
    ended = runner.run_action(models=name, pytest_args=OFFLINE)
    assert [step.code for step in ended.steps.values()] == [4, 4, 4]
    said = [line for line in ended.steps["gate"].err.splitlines() if line]
    assert said == [f"ERROR: --qgate: {runner.workspace}/{name} does not exist."]
    assert list(runner.workspace.iterdir()) == []
    assert ended.outputs["verdict"] == "error"


def test_a_real_narrowed_run_does_not_hold(runner: Runner, toys: Toys) -> None:
    ended = runner.run_action(
        models=str(toys(good=Toy(noise=0.0005))),
        pytest_args=f"{OFFLINE}\n-k\nkl_mean",
    )
    assert not ended.holds
    assert ended.outputs["verdict"] == "incomplete"


def test_a_real_run_that_only_collects_does_not_hold(runner: Runner, toys: Toys) -> None:
    ended = runner.run_action(
        models=str(toys(good=Toy(noise=0.0005))),
        pytest_args=f"{OFFLINE}\n--collect-only",
    )
    assert ended.steps["gate"].code == 0
    assert not ended.holds
    assert ended.outputs == {"verdict": "error", "report": ""}


JOB = load(GITHUB / "workflows" / "gate.yml")["jobs"]["verdict"]
RESULTS = ("success", "failure", "cancelled", "skipped", "")


def test_the_last_job_speaks_whatever_became_of_the_gate() -> None:
    assert (JOB["if"], JOB["needs"], JOB["name"]) == ("always()", "gate", "qgate")
    (step,) = JOB["steps"]
    assert step["env"] == {
        "QGATE_RESULT": "${{ needs.gate.result }}",
        "QGATE_VERDICT": "${{ needs.gate.outputs.verdict }}",
    }


@pytest.mark.parametrize(
    ("result", "verdict"), list(itertools.product(RESULTS, ("pass", "fail", "")))
)
def test_a_gate_that_was_skipped_or_cancelled_is_a_failed_check(
    result: str, verdict: str, runner: Runner
) -> None:
    ended = runner.run_script(
        JOB["steps"][0]["run"], {"QGATE_RESULT": result, "QGATE_VERDICT": verdict}
    )
    if (result, verdict) == ("success", "pass"):
        assert (ended.code, ended.out) == (0, "")
        return
    assert ended.code == 1
    (command,) = ended.commands
    assert command.name == "error"
    assert ("fork" in command.message) is (result == "skipped")


def test_a_verdict_with_a_newline_is_no_command(runner: Runner) -> None:
    env = {"QGATE_RESULT": "success", "QGATE_VERDICT": "pass\n::add-mask::x"}
    ended = runner.run_script(JOB["steps"][0]["run"], env)
    assert ended.code == 1
    assert [command.name for command in ended.commands] == ["error"]


def test_the_install_step_takes_the_checked_out_source(runner: Runner, tmp_path: Path) -> None:
    temp = tmp_path / "runner temp"
    tools = tmp_path / "tools"
    tools.mkdir()
    python = tools / "python"
    # a venv whose pip notes what it should install
    python.write_text(
        '#!/bin/bash\nmkdir -p "$RUNNER_TEMP/qgate/bin"\n'
        'printf \'#!/bin/bash\\nprintf "%%s\\\\n" "$@"\\n\' > "$RUNNER_TEMP/qgate/bin/pip"\n'
        'chmod +x "$RUNNER_TEMP/qgate/bin/pip"\nprintf \'%s\\n\' "$@"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    gate = load(GITHUB / "workflows" / "gate.yml")["jobs"]["gate"]
    (step,) = (step for step in gate["steps"] if step.get("name") == "Install qgate")
    path = f"{tools}:{runner.environ['PATH']}"
    ended = runner.run_script(
        step["run"], {"RUNNER_TEMP": str(temp), "PATH": path, "QGATE_EXTRAS": "gguf,x"}
    )
    assert ended.code == 0, ended.err
    assert ended.out.split("\n")[:-1] == [
        *("-P", "-m", "venv", "--clear", f"{temp}/qgate"),
        *("install", "./.qgate-source[gguf,x]"),
    ]
    paths = (tmp_path / "runner-github_path").read_text(encoding="utf-8")
    assert paths == f"{temp}/qgate/bin\n"
