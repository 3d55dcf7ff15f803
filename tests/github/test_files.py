"""The workflows and the action as files: valid, pinned, read-only, and never in a fork's hands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.github.runner import ACTION, GITHUB, ROOT, WORKFLOWS, evaluate, load, references, scripts

CI, GATE = (GITHUB / "workflows" / name for name in ("ci.yml", "gate.yml"))
FILES = (*WORKFLOWS, ACTION)
TOOLS = Path(sys.executable).parent
OURS, THEIRS = "team/models", "stranger/models"


def _names(path: Path) -> str:
    return str(path.relative_to(GITHUB))


def _check_schema(path: Path) -> subprocess.CompletedProcess[str]:
    kind = "actions" if path.name == "action.yml" else "workflows"
    schema = f"vendor.github-{kind}"
    command = [str(TOOLS / "check-jsonschema"), "--builtin-schema", schema, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _audit(directory: Path) -> subprocess.CompletedProcess[str]:
    options = ["--offline", "--no-config", "--strict-collection"]
    command = [str(TOOLS / "zizmor"), "--color=never", *options, str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def _change(tmp_path: Path, path: Path, old: str, new: str) -> Path:
    """A copy of all the files with one change in one of them; the changed file."""
    copy = tmp_path / "changed" / ".github"
    shutil.copytree(GITHUB, copy)
    changed = copy / path.relative_to(GITHUB)
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new, 1), encoding="utf-8")
    return changed


@pytest.mark.parametrize("path", FILES, ids=_names)
def test_every_file_follows_githubs_own_schema(path: Path) -> None:
    done = _check_schema(path)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "old"), [(GATE, "timeout-minutes: 5"), (ACTION, "using:")])
def test_a_misspelt_key_is_found(path: Path, old: str, tmp_path: Path) -> None:
    changed = _change(tmp_path, path, old, f"x{old}")
    assert _check_schema(changed).returncode == 1


def test_zizmor_finds_nothing() -> None:
    done = _audit(GITHUB)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("No findings to report.")


@pytest.mark.parametrize(
    ("path", "old", "new", "finding"),
    [
        (ACTION, '"--qgate-json=$QGATE_REPORT"', "${{ inputs.report }}", "template-injection"),
        (GATE, "bbbca2ddaa5d8feaa63e36b76fdaad77386f024f # v7.0.0", "v7", "unpinned-uses"),
        (GATE, "persist-credentials: false", "fetch-depth: 0", "artipacked"),
        (CI, "permissions:\n      contents: read", "permissions: write-all", "excessive-permi"),
    ],
)
def test_zizmor_finds_what_is_planted(
    path: Path, old: str, new: str, finding: str, tmp_path: Path
) -> None:
    changed = _change(tmp_path, path, old, new)
    done = _audit(changed.parents[1])
    assert done.returncode != 0
    assert finding in done.stdout


def test_one_action_has_one_pin() -> None:
    lines = {line for path in FILES for line in references(path) if "@" in line}
    assert len(lines) == len({line.partition("@")[0] for line in lines})


def test_the_gate_uses_the_action_beside_it() -> None:
    (own,) = (line for path in FILES for line in references(path) if line.startswith("$/"))
    assert ROOT / own.removeprefix("$/") == ACTION.parent


@pytest.mark.parametrize("path", WORKFLOWS, ids=_names)
def test_every_job_only_reads_and_ends_in_time(path: Path) -> None:
    """Pins, expressions in scripts and credentials that stay are what zizmor finds, above."""
    workflow = load(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"] in ({}, {"contents": "read"})
        assert job["timeout-minutes"]


def test_ci_runs_every_stage_on_every_python_and_so_what_the_readme_says() -> None:
    workflow = load(CI)
    (job,) = workflow["jobs"].values()
    assert scripts(CI) == [".ci/run"]
    stages = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^\$ (pip install -e .*)$", readme, re.MULTILINE)
    assert all(part in stages for part in command.split(" && "))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"]))
    assert job["strategy"]["matrix"] == {"python": known}
    assert job["runs-on"].startswith("ubuntu-")
    assert workflow["concurrency"]["group"].endswith("${{ github.ref }}")
    (python,) = (step for step in job["steps"] if "python-version" in step.get("with", {}))
    assert python["with"]["cache"] == "pip"
    assert set(workflow["on"]) == {"push", "pull_request"}


def test_the_gate_is_only_ever_called() -> None:
    assert set(load(GATE)["on"]) == {"workflow_call"}


def test_the_gate_runs_where_its_caller_says_and_by_default_on_a_gpu_runner() -> None:
    workflow = load(GATE)
    assert workflow["jobs"]["gate"]["runs-on"] == "${{ fromJSON(inputs.runner) }}"
    labels = json.loads(workflow["on"]["workflow_call"]["inputs"]["runner"]["default"])
    assert labels == ["self-hosted", "linux", "gpu"]


def test_gates_on_one_runner_wait_for_each_other_and_none_is_cancelled() -> None:
    assert load(GATE)["jobs"]["gate"]["concurrency"] == {
        "group": "qgate-${{ inputs.runner }}",
        "cancel-in-progress": False,
        "queue": "max",
    }


def test_secrets_go_by_name_to_the_gate_alone() -> None:
    workflow = load(GATE)
    known = workflow["on"]["workflow_call"]["secrets"]
    assert [facts["required"] for facts in known.values()] == [False, False]
    users = [step for step in workflow["jobs"]["gate"]["steps"] if "secrets." in json.dumps(step)]
    assert [step["uses"] for step in users] == ["$/.github/actions/qgate"]
    assert users[0]["env"] == {name: f"${{{{ secrets.{name} }}}}" for name in known}
    assert "secrets." not in json.dumps(workflow["jobs"]["verdict"])


def test_the_report_is_uploaded_even_when_the_gate_fails() -> None:
    steps = load(GATE)["jobs"]["gate"]["steps"]
    (upload,) = (s for s in steps if s.get("uses", "").startswith("actions/upload-artifact@"))
    inputs = load(ACTION)["inputs"]
    assert upload["if"] == "always()"
    assert upload["with"]["path"].split() == [
        inputs[name]["default"] for name in ("report", "junit")
    ]
    # upload-artifact leaves out dot directories unless it is told
    assert upload["with"]["include-hidden-files"] is True


def test_the_action_takes_what_the_gate_gives() -> None:
    (gate,) = (s for s in load(GATE)["jobs"]["gate"]["steps"] if s.get("id") == "qgate")
    assert set(gate["with"]) <= set(load(ACTION)["inputs"])
    assert load(GATE)["jobs"]["gate"]["outputs"]["verdict"] == "${{ steps.qgate.outputs.verdict }}"
    assert "verdict" in load(ACTION)["outputs"]


GUARD = (
    "github.event.pull_request == null || "
    "github.event.pull_request.head.repo.full_name == github.repository"
)


def _of(head: dict[str, str] | None) -> dict[str, object]:
    return {"pull_request": {"head": {"repo": head}}}


EVENTS = [
    ("push", {"ref": "refs/heads/main"}, True),
    ("workflow_dispatch", {"inputs": None}, True),
    ("schedule", {"schedule": "0 3 * * *"}, True),
    ("merge_group", {"merge_group": {"head_ref": "refs/heads/x"}}, True),
    ("pull_request", _of({"full_name": OURS}), True),
    ("pull_request", _of({"full_name": THEIRS}), False),
    ("pull_request_target", _of({"full_name": THEIRS}), False),
    ("pull_request_review", _of({"full_name": THEIRS}), False),
    ("pull_request", _of({"full_name": ""}), False),
    # the fork was deleted
    ("pull_request", _of(None), False),
]


@pytest.mark.parametrize(("name", "event", "runs"), EVENTS, ids=range(len(EVENTS)))
def test_a_forks_pull_request_never_starts_the_gate(
    name: str, event: dict[str, object], runs: bool
) -> None:
    guard = load(GATE)["jobs"]["gate"]["if"]
    assert guard == GUARD
    context = {"github": {"event_name": name, "event": event, "repository": OURS}}
    assert evaluate(guard, context) is runs
