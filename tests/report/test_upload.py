"""Against real stores, real processes and real sockets."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qgate.report.json import read, write
from qgate.report.upload import UploadOutcome, resolve_uri, upload_in_child

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import Report

DEADLINE_S = 60.0
LOST_AT_MOST_S = 5.0

# mlflow warns and owns global state: it is looked at from a child process, as qgate uses it.
READ_BACK = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])
experiments = client.search_experiments()
runs = client.search_runs([experiment.experiment_id for experiment in experiments])
print(json.dumps({
    "experiments": {experiment.name: experiment.artifact_location for experiment in experiments},
    "runs": [{
        "id": run.info.run_id, "ended": run.info.end_time,
        "name": run.info.run_name, "status": run.info.status,
        "params": run.data.params, "metrics": run.data.metrics, "tags": run.data.tags,
        "files": [file.path for file in client.list_artifacts(run.info.run_id)],
        "points": len(client.get_metric_history(run.info.run_id, "qgate.passed")),
        "datasets": [
            (item.dataset.name, item.dataset.digest) for item in run.inputs.dataset_inputs
        ],
    } for run in runs],
}))
"""


def _read_back(uri: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", READ_BACK, uri], capture_output=True, check=True, timeout=DEADLINE_S
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _upload_again(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    environ = {**os.environ, "PYTHONPATH": str(root)}
    environ.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [sys.executable, "-m", "qgate", "upload", str(path), *options],
        env=environ,
        cwd=path.parent,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture
def path(report: Report, tmp_path: Path) -> Path:
    path = tmp_path / "with space" / "report.json"
    write(report, path)
    return path


@pytest.mark.slow
def test_a_run_is_found_in_the_embedded_store_once_however_often_it_is_sent(path: Path) -> None:
    uri = resolve_uri(None, {}, path.parent)
    outcome = upload_in_child(path, uri, DEADLINE_S)
    assert outcome == UploadOutcome(
        uri=uri,
        uploaded=True,
        experiment="qgate/qgate-demo-F16",
        parent_run_id=outcome.parent_run_id,
    )
    assert read(path)["mlflow"] == {
        "uri": uri,
        "experiment": "qgate/qgate-demo-F16",
        "parent_run_id": outcome.parent_run_id,
        "uploaded": True,
    }
    first = _read_back(uri)
    _check_what_is_stored(first, outcome)
    again = _upload_again(path)
    assert again.stdout == (
        f"mlflow: {uri}, experiment qgate/qgate-demo-F16, run {outcome.parent_run_id}\n"
    )
    assert (again.returncode, again.stderr) == (0, "")
    assert _read_back(uri) == first


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
import sys
from pathlib import Path
import mlflow
from qgate.report.upload import upload_report
whole, calls = mlflow.MlflowClient.log_batch, []
def broken(*arguments, **named):
    calls.append(1)
    if len(calls) > int(sys.argv[3]):
        raise ConnectionError("gone http://user:secret@host/x?token=y")
    return whole(*arguments, **named)
mlflow.MlflowClient.log_batch = broken
upload_report(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_a_half_logged_run_is_completed_not_doubled(path: Path) -> None:
    uri = resolve_uri(None, {}, path.parent)
    root = Path(__file__).parents[2]
    subprocess.run(
        [sys.executable, "-c", BREAK_OFF, str(path), uri, "2"],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        check=True,
        timeout=DEADLINE_S,
    )
    assert read(path)["mlflow"] == {
        "uri": uri,
        "uploaded": False,
        "reason": "ConnectionError: gone http://host/x",
    }
    half = _read_back(uri)
    assert [run["status"] for run in half["runs"]].count("RUNNING") >= 2
    outcome = upload_in_child(path, uri, DEADLINE_S)
    found = _read_back(uri)
    _check_what_is_stored(found, outcome)
    assert {run["id"] for run in half["runs"]} < {run["id"] for run in found["runs"]}
    assert {run["points"] for run in found["runs"]} == {1}


@pytest.mark.slow
def test_a_store_that_mlflow_refuses_is_a_reason_not_a_crash(path: Path) -> None:
    outcome = upload_in_child(path, f"sqlite:///{path}", DEADLINE_S)
    assert not outcome.uploaded
    assert outcome.reason is not None
    assert "file is not a database" in outcome.reason
    assert "\n" not in outcome.reason
    assert read(path)["mlflow"] == outcome.to_json()


@pytest.mark.slow
def test_a_real_server_gets_the_same_runs(path: Path, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ("--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}")
    files = ("--artifacts-destination", str(tmp_path / "files"), "--workers", "1")
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), *store, *files],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait_for(f"{uri}/health")
        outcome = upload_in_child(path, uri, DEADLINE_S)
        assert outcome.reason is None
        _check_what_is_stored(_read_back(uri), outcome)
    finally:
        os.killpg(server.pid, 15)
        server.wait(20)


def _wait_for(address: str) -> None:
    until = time.monotonic() + 90
    while True:
        try:
            urllib.request.urlopen(address, timeout=2).close()
        except OSError:
            assert time.monotonic() < until, "the server did not start"
            time.sleep(0.5)
        else:
            return


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """It accepts and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def full_port() -> Iterator[int]:
    """A black hole: its queue is full, so that no connection comes about."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
        yield port
        for connection in waiting:
            connection.close()


@pytest.fixture
def dripping_port() -> Iterator[int]:
    """A reply that never ends: each byte comes in time."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        stop = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not stop.wait(0.3):
                    connection.sendall(b"X-Slow: 1\r\n")

        thread = threading.Thread(target=drip, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        stop.set()


@pytest.fixture
def answering_port(request: pytest.FixtureRequest) -> Iterator[int]:
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def _lose(path: Path, port: int, at_most_s: float = LOST_AT_MOST_S) -> str:
    """Return the reason, after a look at what the outage has cost."""
    uri = f"http://user:secret@127.0.0.1:{port}"
    began = time.monotonic()
    outcome = upload_in_child(path, uri, DEADLINE_S)
    elapsed_s = time.monotonic() - began
    assert elapsed_s <= at_most_s
    assert "secret" not in path.read_text(encoding="utf-8")
    assert read(path)["mlflow"] == outcome.to_json()
    assert (outcome.uri, outcome.uploaded) == (f"http://127.0.0.1:{port}", False)
    assert outcome.reason is not None
    return outcome.reason


def test_a_refused_connection_costs_seconds(path: Path, closed_port: int) -> None:
    assert _lose(path, closed_port) == "Connection refused"


def test_a_silent_server_costs_seconds(path: Path, silent_port: int) -> None:
    assert _lose(path, silent_port) == "no answer within 2 s"


def test_a_black_hole_costs_seconds(path: Path, full_port: int) -> None:
    assert _lose(path, full_port) == "no connection within 2 s"


def test_a_dripping_server_costs_seconds(path: Path, dripping_port: int) -> None:
    assert _lose(path, dripping_port) == "no answer within 3 s"


CODES = {
    500: "HTTP 500",
    401: "HTTP 401. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN",
    404: "HTTP 404. Is this the address of an MLflow server?",
}


@pytest.mark.parametrize(("answering_port", "reason"), CODES.items(), indirect=["answering_port"])
def test_a_server_that_answers_with_an_error_costs_seconds(
    path: Path, answering_port: int, reason: str
) -> None:
    assert _lose(path, answering_port) == reason


@pytest.fixture
def fading_port() -> Iterator[int]:
    """It answers the first request, and then no other."""
    stop = threading.Event()

    class Fade(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith("/api/2.0/mlflow/experiments/search"):
                stop.wait(60)
                return
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Fade) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        stop.set()
        server.shutdown()


@pytest.mark.slow
def test_a_server_that_falls_silent_costs_an_import_and_seconds(
    path: Path, fading_port: int
) -> None:
    importing = [sys.executable, "-c", "import mlflow"]
    began = time.monotonic()
    subprocess.run(importing, check=True, capture_output=True)
    import_s = time.monotonic() - began
    reason = _lose(path, fading_port, LOST_AT_MOST_S + 2 * import_s)
    assert "timeout=3" in reason


def test_a_child_past_its_deadline_is_killed(path: Path, silent_port: int) -> None:
    began = time.monotonic()
    outcome = upload_in_child(path, f"http://127.0.0.1:{silent_port}", 0.5)
    assert time.monotonic() - began < 2
    assert outcome.reason == "not finished within 0.5 s"
    assert read(path)["mlflow"] == outcome.to_json()


def test_a_lost_report_is_a_reason_not_a_crash(tmp_path: Path, closed_port: int) -> None:
    outcome = upload_in_child(tmp_path / "none.json", f"http://127.0.0.1:{closed_port}", DEADLINE_S)
    assert not outcome.uploaded
    assert outcome.reason is not None
    assert "cannot be read: No such file or directory" in outcome.reason


def test_the_option_wins_over_the_environment_and_both_over_the_embedded_store() -> None:
    environ = {"MLFLOW_TRACKING_URI": "http://env"}
    assert resolve_uri("http://option", environ, Path("/there")) == "http://option"
    assert resolve_uri(None, environ, Path("/there")) == "http://env"
    assert resolve_uri(None, {}, Path("/there")) == "sqlite:////there/.qgate/mlflow.db"
    assert (
        resolve_uri("", {"MLFLOW_TRACKING_URI": ""}, Path("/t")) == "sqlite:////t/.qgate/mlflow.db"
    )


def test_the_package_of_reports_does_not_import_mlflow() -> None:
    modules = "import sys, qgate.report.upload, qgate.report.plots, qgate.__main__;"
    code = f"{modules} print(sorted({{'mlflow', 'matplotlib', 'numpy'}} & set(sys.modules)))"
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
