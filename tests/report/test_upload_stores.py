"""Uploads to real stores: which one is meant, and what is found there, however often sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qgate.report.mlflow.upload import UploadOutcome, resolve_uri, upload_in_child
from qgate.report.report_file import read
from tests.report.mlflow_stores import (
    ROOT,
    UPLOAD_DEADLINE_S,
    read_back,
    serve_mlflow,
    start_python,
)


def _upload_again(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, "-m", "qgate", "upload", str(path), *options],
        env=environ,
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=UPLOAD_DEADLINE_S,
        check=False,
    )


@pytest.mark.slow
def test_a_run_is_found_in_the_embedded_store_once_however_often_it_is_sent(path: Path) -> None:
    uri = resolve_uri(None, {}, path.parent)
    outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    assert outcome == UploadOutcome(
        uri=uri,
        uploaded=True,
        experiment="qgate/qgate-demo-F16",
        parent_run_id=outcome.parent_run_id,
    )
    assert read(path).mlflow == {
        "uri": uri,
        "experiment": "qgate/qgate-demo-F16",
        "parent_run_id": outcome.parent_run_id,
        "uploaded": True,
    }
    first = read_back(uri)
    _check_what_is_stored(first, outcome)
    again = _upload_again(path)
    assert again.stdout == (
        f"mlflow: {uri}, experiment qgate/qgate-demo-F16, run {outcome.parent_run_id}\n"
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert read_back(uri) == first


def _check_what_is_stored(found: dict[str, Any], outcome: UploadOutcome) -> None:
    runs = {run["name"]: run for run in found["runs"]}
    children = ["qgate-demo-Q8_0", "qgate-demo-Q2_K", "broken-Q4_0"]
    assert set(runs) == {"qgate 0123456", *children}
    parent = runs["qgate 0123456"]
    assert parent["id"] == outcome.parent_run_id
    assert sorted(parent["files"]) == ["kl_divergence.png", "report.json"]
    statuses = [runs[name]["status"] for name in children]
    assert statuses == ["FINISHED", "FINISHED", "FAILED"]
    assert parent["status"] == "FAILED"
    assert {run["ended"] - run["started"] for run in found["runs"]} == {300_000}
    assert {runs[name]["tags"]["mlflow.parentRunId"] for name in children} == {parent["id"]}
    assert parent["tags"]["mlflow.note.content"].startswith("reference: qgate-demo-F16, F16")
    bad = runs["qgate-demo-Q2_K"]
    assert bad["metrics"]["perplexity.increase/high"] == 0.97
    assert bad["params"]["reference.text.name"] == "self-generated"
    expected = {
        "mlflow.runType": "test",
        "mlflow.source.git.branch": "main",
        "mlflow.source.git.commit": "0123456789abcdef0123456789abcdef01234567",
        "mlflow.source.git.dirty": "false",
        "mlflow.source.git.repoURL": "https://github.com/example/models",
        "mlflow.source.name": "pytest --qgate",
        "qgate.artifact_digest": f"sha256:{2_600_000:064x}",
        "qgate.ci.run_url": "https://github.com/x/y/actions/runs/7",
        "qgate.reference_digest": "sha256:" + "ab" * 32,
        "qgate.verdict": "fail",
        "qgate.verdict.divergence.same_top": "inconclusive",
        "qgate.version": "0.1.0",
    }
    assert {name: bad["tags"].get(name) for name in expected} == expected
    assert bad["datasets"] == [["self-generated", "cd" * 18]]


# The upload breaks off after so many calls of log_batch, as if the server had gone.
BREAK_OFF = """
import os, sys, mlflow
from qgate.report.mlflow import upload
whole, calls = mlflow.MlflowClient.log_batch, []
def broken(*arguments, **named):
    calls.append(1)
    if len(calls) > 2:
        raise ConnectionError("gone http://user:secret@host/x?token=y")
    return whole(*arguments, **named)
mlflow.MlflowClient.log_batch = broken
os.environ["MLFLOW_TRACKING_URI"] = sys.argv[2]
upload._main(sys.argv[1], "60")
"""


@pytest.mark.slow
def test_a_half_logged_run_is_completed_not_doubled(path: Path) -> None:
    uri = resolve_uri(None, {}, path.parent)
    printed, _ = start_python(BREAK_OFF, str(path), uri).communicate(timeout=UPLOAD_DEADLINE_S)
    assert json.loads(printed.splitlines()[-1]) == {
        "uri": uri,
        "uploaded": False,
        "reason": "ConnectionError: gone http://host/x",
    }
    half = read_back(uri)
    assert [run["status"] for run in half["runs"]].count("RUNNING") == 3
    outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    found = read_back(uri)
    _check_what_is_stored(found, outcome)
    assert {run["id"] for run in half["runs"]} == {run["id"] for run in found["runs"]}
    assert {run["points"] for run in found["runs"]} == {1}


@pytest.mark.slow
def test_a_store_that_mlflow_refuses_is_a_reason_not_a_crash(path: Path) -> None:
    outcome = upload_in_child(path, f"sqlite:///{path}", UPLOAD_DEADLINE_S)
    assert not outcome.uploaded
    assert outcome.reason is not None
    assert "file is not a database" in outcome.reason
    assert "\n" not in outcome.reason
    assert read(path).mlflow == outcome.to_json()


@pytest.mark.slow
def test_a_real_server_gets_the_same_runs(path: Path, tmp_path: Path) -> None:
    with serve_mlflow(tmp_path) as uri:
        outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
        assert outcome.reason is None
        _check_what_is_stored(read_back(uri), outcome)


def test_the_option_wins_over_the_environment_and_both_over_the_embedded_store() -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://env"}
    assert resolve_uri("http://option", environ, Path("/there")) == "http://option"
    assert resolve_uri(None, environ, Path("/there")) == "http://env"
    assert resolve_uri(None, {}, Path("/there")) == "sqlite:////there/.qgate/mlflow.db"
    assert (
        resolve_uri("", {"MLFLOW_TRACKING_URI": ""}, Path("/t")) == "sqlite:////t/.qgate/mlflow.db"
    )


def test_the_package_of_reports_does_not_import_mlflow() -> None:
    modules = "import sys, qgate.report.mlflow.upload, qgate.report.plots, qgate.__main__;"
    code = f"{modules} print(sorted({{'mlflow', 'matplotlib', 'numpy'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
