from __future__ import annotations

import json
import os
import subprocess
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import qgate
from qgate.report.provenance import describe, strip_credentials, until_now

if TYPE_CHECKING:
    from pathlib import Path

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "example/models",
    "GITHUB_RUN_ID": "77",
    "GITHUB_RUN_NUMBER": "12",
    "GITHUB_SHA": "abc",
    "GITHUB_REF": "refs/pull/5/merge",
    "GITHUB_TOKEN": "s3cret",
    "HF_TOKEN": "s3cret",
    "MLFLOW_TRACKING_PASSWORD": "s3cret",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_JOB_URL": "https://gitlab.com/x/-/jobs/5",
    "CI_PIPELINE_IID": "3",
    "CI_COMMIT_SHA": "def",
    "CI_COMMIT_REF_NAME": "main",
    "CI_JOB_TOKEN": "s3cret",
}


def _git(directory: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(
        ["git", "-C", str(directory), *identity, *arguments], check=True, capture_output=True
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    directory = tmp_path / "repository"
    directory.mkdir()
    _git(directory, "init", "--initial-branch", "trunk")
    (directory / "file").write_text("1", encoding="utf-8")
    _git(directory, "add", "file")
    _git(directory, "commit", "--message", "one")
    address = "https://user:p@ss@example.org/models.git?token=s3cret"
    _git(directory, "remote", "add", "origin", address)
    return directory


def test_the_repository_is_named_without_its_credentials(repository: Path) -> None:
    facts = describe(os.environ, repository)["git"]
    commit = facts.pop("commit")
    assert len(commit) == 40
    assert facts == {
        "branch": "trunk",
        "dirty": False,
        "remote": "https://example.org/models.git",
    }


def test_a_changed_file_makes_it_dirty_and_a_detached_head_has_no_branch(repository: Path) -> None:
    (repository / "file").write_text("2", encoding="utf-8")
    _git(repository, "checkout", "--detach")
    facts = describe(os.environ, repository)["git"]
    assert (facts["dirty"], facts["branch"]) == (True, None)


def test_outside_a_repository_or_without_git_there_are_no_git_facts(
    repository: Path, tmp_path: Path
) -> None:
    assert describe({**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path)}, tmp_path)["git"] == {}
    assert describe({"PATH": str(tmp_path)}, repository)["git"] == {}


def test_a_git_that_hangs_costs_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging = tmp_path / "git"
    hanging.write_text("#!/bin/sh\nexec sleep 60\n", encoding="utf-8")
    hanging.chmod(0o755)
    # the program is looked up in the PATH of this process or of its child, by platform
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    monkeypatch.setenv("PATH", path)
    began = datetime.now(UTC)
    assert describe({"PATH": path}, tmp_path)["git"] == {}
    assert datetime.now(UTC) - began < timedelta(seconds=4)


def _plant(repository: Path, trace: Path, setting: str) -> None:
    """Have git start a program that leaves a trace, as the setting says, when it is asked."""
    program = repository / ".git" / "program"
    program.write_text(f"#!/bin/sh\necho {setting} >> {trace}\nexec cat\n", encoding="utf-8")
    program.chmod(0o755)
    filtered = repository / ".git" / "info" / "attributes"
    filtered.parent.mkdir(exist_ok=True)
    if setting == "post-index-change":
        hook = repository / ".git" / "hooks" / setting
        hook.parent.mkdir(exist_ok=True)
        program.rename(hook)
    elif setting == "included":
        included = repository / ".git" / "included"
        included.write_text(f'[filter "a.b"]\n clean = {program}\n', encoding="utf-8")
        _git(repository, "config", "include.path", "included")
        filtered.write_text("* filter=a.b\n", encoding="utf-8")
    elif setting == "worktree":
        _git(repository, "config", "extensions.worktreeConfig", "true")
        _git(repository, "config", "--worktree", "filter.x.clean", str(program))
        filtered.write_text("* filter=x\n", encoding="utf-8")
    else:
        _git(repository, "config", setting, str(program))
        filtered.write_text("* filter=x\n", encoding="utf-8")
    # what git remembers of the file's times is no longer right: it reads the file
    os.utime(repository / "file", (1, 1))


PROGRAMS = (
    "filter.x.clean", "filter.x.process", "included", "worktree", "core.fsmonitor",
    "post-index-change",
)  # fmt: skip


@pytest.mark.parametrize("setting", PROGRAMS)
def test_a_repository_cannot_have_its_own_program_run(
    repository: Path, tmp_path: Path, setting: str
) -> None:
    trace = tmp_path / "ran"
    _plant(repository, trace, setting)
    assert describe(os.environ, repository)["git"]["dirty"] is False
    assert not trace.exists()
    # the program is one that git does start
    status = ["git", "-C", str(repository), "status"]
    subprocess.run(status, check=False, capture_output=True, timeout=60)
    assert trace.exists()
    trace.unlink()

    (repository / "file").write_text("2", encoding="utf-8")
    assert describe(os.environ, repository)["git"]["dirty"] is True
    assert not trace.exists()


def test_a_filter_that_cannot_be_switched_off_is_not_started(
    repository: Path, tmp_path: Path
) -> None:
    trace = tmp_path / "ran"
    _plant(repository, trace, "filter.x=y.clean")
    (repository / ".git" / "info" / "attributes").write_text("* filter=x=y\n", encoding="utf-8")
    assert describe(os.environ, repository)["git"]["dirty"] is None
    assert not trace.exists()


def test_a_submodule_cannot_have_its_own_program_run(repository: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer"
    outer.mkdir()
    _git(outer, "init")
    _git(outer, "-c", "protocol.file.allow=always", "submodule", "add", str(repository), "inner")
    _git(outer, "commit", "--message", "one")
    inner, trace = outer / "inner", tmp_path / "ran"
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trace}\nexec cat\n", encoding="utf-8")
    program.chmod(0o755)
    _git(inner, "config", "filter.x.clean", str(program))
    attributes = outer / ".git" / "modules" / "inner" / "info" / "attributes"
    attributes.parent.mkdir(exist_ok=True)
    attributes.write_text("* filter=x\n", encoding="utf-8")
    os.utime(inner / "file", (1, 1))
    assert describe(os.environ, outer)["git"]["dirty"] is False
    assert not trace.exists()

    _git(inner, "commit", "--allow-empty", "--message", "two")
    trace.unlink(missing_ok=True)
    assert describe(os.environ, outer)["git"]["dirty"] is True
    assert not trace.exists()


def test_a_partial_clone_fetches_nothing(repository: Path, tmp_path: Path) -> None:
    """What it lacks would be fetched with the program that its own settings name."""
    trace = tmp_path / "ran"
    _git(repository, "config", "uploadpack.allowFilter", "true")
    (repository / "file").write_text("1\n" * 100, encoding="utf-8")
    _git(repository, "commit", "--all", "--message", "two")
    partial = tmp_path / "partial"
    _git(
        tmp_path, "clone", "--no-checkout", "--filter=blob:none", f"file://{repository}", "partial"
    )
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n", encoding="utf-8")
    program.chmod(0o755)
    _git(partial, "config", "remote.origin.uploadpack", str(program))
    (partial / "another").write_text("1\n" * 90, encoding="utf-8")
    _git(partial, "add", "another")  # is it the file, renamed? that takes the contents of both
    describe(os.environ, partial)
    assert not trace.exists()
    status = ["git", "-C", str(partial), "status", "--porcelain", "--untracked-files=no"]
    subprocess.run(status, check=False, capture_output=True, timeout=60)
    assert trace.exists()


@pytest.mark.parametrize(
    ("environ", "facts"),
    [
        (
            GITHUB,
            {
                "name": "github",
                "run_url": "https://github.com/example/models/actions/runs/77",
                "run_number": "12",
                "sha": "abc",
                "ref": "refs/pull/5/merge",
            },
        ),
        (
            GITLAB,
            {
                "name": "gitlab",
                "run_url": "https://gitlab.com/x/-/jobs/5",
                "run_number": "3",
                "sha": "def",
                "ref": "main",
            },
        ),
        ({}, {}),
        ({"CI": "true"}, {}),
    ],
)
def test_the_ci_job_is_named_and_no_secret_is(
    environ: dict[str, str], facts: dict[str, str], tmp_path: Path
) -> None:
    environment = describe(environ, tmp_path)
    assert environment["ci"] == facts
    assert "s3cret" not in json.dumps(environment)


def test_the_machine_is_described_without_its_name(tmp_path: Path) -> None:
    environment = describe(os.environ, tmp_path)
    assert environment["qgate"] == qgate.__version__
    assert environment["cpu"]["count"] >= environment["cpu"]["usable"] >= 1
    assert environment["ram_bytes"] > 1e8
    assert os.uname().nodename not in json.dumps(environment)
    started = datetime.fromisoformat(environment["started_at"])
    assert abs(datetime.now(UTC) - started) < timedelta(seconds=30)


def test_a_session_is_told_until_now(tmp_path: Path) -> None:
    environment = describe({}, tmp_path)
    before = datetime.now(UTC).replace(microsecond=0)
    told = until_now(environment)
    assert before <= datetime.fromisoformat(told.pop("ended_at")) <= datetime.now(UTC)
    assert told == environment


def test_each_session_has_an_id_of_its_own(tmp_path: Path) -> None:
    ids = {describe({}, tmp_path)["session_id"] for _ in range(2)}
    assert len(ids) == 2
    assert {uuid.UUID(session_id).version for session_id in ids} == {4}


ADDRESSES = [
    ("https://user:pw@host/x", "https://host/x"),
    ("postgresql://u:p@ss:w@host:5432/db?sslmode=x&password=y", "postgresql://host:5432/db"),
    ("git@github.com:example/models.git", "git@github.com:example/models.git"),
    ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
    ("failed: http://u:p@h/x?t=1 and 'https://k@h'", "failed: http://h/x and 'https://h'"),
    ("plain text, a?b", "plain text, a?b"),
    ("postgresql://u:se/cret@host:5432/db", "postgresql://"),
    ("mysql://u:12/cret@host/db", "mysql://"),
    ("mysql://u:se?cr#et@host/db", "mysql://"),
    ("no http://h:5000: refused, http://h/x.", "no http://h:5000: refused, http://h/x."),
]


@pytest.mark.parametrize(("text", "stripped"), ADDRESSES)
def test_addresses_lose_their_credentials_and_nothing_else(text: str, stripped: str) -> None:
    assert strip_credentials(text) == stripped
