"""An upload that fails costs seconds and says why: against real sockets and processes."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from qgate.report.mlflow.server_check import find_outage
from qgate.report.mlflow.upload import postpone, upload_in_child
from qgate.report.report_file import read, write
from qgate.untrusted.work_folder import sweep_temporary
from tests.report.mlflow_stores import UPLOAD_DEADLINE_S, say, serve

if TYPE_CHECKING:
    import http.server
    from collections.abc import Iterator

    from qgate.records import Report

LOST_AT_MOST_S = 5.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a user says of the client is the client's."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


def test_another_gates_start_takes_no_upload_its_temporary_files_and_a_killed_ones_go(
    passing: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report, temporary = tmp_path / "report.json", tmp_path / "tmp"
    temporary.mkdir()
    write(passing, report)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    seen: list[Path] = []

    def run(*_: object, env: dict[str, str], **__: object) -> None:
        sweep_temporary()
        seen.append(Path(env["TMPDIR"]))
        assert seen[0].is_dir()
        raise OSError("seen enough")

    monkeypatch.setattr("qgate.report.mlflow.upload.subprocess.run", run)
    upload_in_child(report, "http://127.0.0.1:9", 5.0)
    seen[0].mkdir()

    sweep_temporary()

    assert list(temporary.iterdir()) == []


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


def _lose(path: Path, port: int, at_most_s: float = LOST_AT_MOST_S) -> str:
    """Return the reason, after a look at what the outage has cost."""
    uri = f"http://user:secret@127.0.0.1:{port}"
    began = time.monotonic()
    outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    elapsed_s = time.monotonic() - began
    assert elapsed_s <= at_most_s
    assert "secret" not in path.read_text(encoding="utf-8")
    assert read(path).mlflow == outcome.to_json()
    assert (outcome.uri, outcome.uploaded) == (f"http://127.0.0.1:{port}", False)
    assert outcome.reason is not None
    return outcome.reason


def _get_port(uri: str) -> int:
    return int(uri.rpartition(":")[2])


def test_a_refused_connection_costs_seconds(path: Path, closed_port: int) -> None:
    assert _lose(path, closed_port) == "Connection refused"


def test_a_silent_server_costs_seconds(path: Path, silent_port: int) -> None:
    assert _lose(path, silent_port) == "no answer within 2 s"


def test_a_black_hole_costs_seconds(path: Path, full_port: int) -> None:
    assert _lose(path, full_port) == "no connection within 2 s"


def test_a_dripping_server_costs_seconds(path: Path, dripping_port: int) -> None:
    assert _lose(path, dripping_port) == "no answer within 3 s"


def test_how_long_an_answer_is_waited_for_is_the_users_to_say(
    path: Path, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    assert _lose(path, silent_port) == "no answer within 1 s"


def test_a_server_that_needs_seconds_is_no_dead_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_TIMEOUT")
    answered = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        if not answered.is_set():
            answered.wait(4)
            answered.set()
            say(request, b"{}")
        else:
            say(request, b"the next one", 418)

    with serve(answer) as uri:
        outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    assert "the next one" in str(outcome.reason)


UNREADABLE = {
    b"": "got nothing; expected a list of experiments",
    b"<html>": "not JSON: got 'Expecting value' at column 1; expected an object",
    b"[]": "got a list; expected a list of experiments",
    b'{"experiments": 1}': "got an object; expected a list of experiments",
    b" " * (1 << 20) + b"{}": "got more than 1048576 bytes; expected a list of experiments",
}


@pytest.mark.parametrize(("body", "problem"), UNREADABLE.items(), ids=range(len(UNREADABLE)))
def test_an_answer_that_is_not_mlflows_is_unreadable(path: Path, body: bytes, problem: str) -> None:
    with serve(lambda request, _: say(request, body)) as uri:
        outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    hint = "Is this the address of an MLflow server?"
    assert outcome.reason == f"the server's answer is unreadable: {problem}. {hint}"


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_server_that_answers_everything_with_nothing_has_deleted_no_experiment(
    path: Path, body: bytes
) -> None:
    def answer(request: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        say(request, b"{}" if "experiments/search" in request.path else body)

    with serve(answer) as uri:
        outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    assert outcome.reason == (
        "the server's answer is unreadable: got an experiment '' with the id ''; expected what "
        "MLflow answers. Is this the address of an MLflow server?"
    )


CODES = {
    500: "HTTP 500",
    404: "HTTP 404. Is this the address of an MLflow server?",
}


@pytest.mark.parametrize(("code", "reason"), CODES.items())
def test_a_server_that_answers_with_an_error_costs_seconds(
    path: Path, code: int, reason: str
) -> None:
    with serve(lambda request, _: say(request, b"", code)) as uri:
        assert _lose(path, _get_port(uri)) == reason


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_lets_nobody_in_is_told_in_a_line_that_names_the_login(
    path: Path, code: int
) -> None:
    with serve(lambda request, _: say(request, b"no", code)) as uri:
        reason = _lose(path, _get_port(uri), UPLOAD_DEADLINE_S)

    assert reason.startswith(
        f"HTTP {code}. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or _TOKEN"
        " (MlflowException: API request to endpoint "
    )
    assert reason.endswith("Response body: 'no')")


def test_a_login_that_mlflow_alone_knows_lets_it_in(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its file of credentials; what fails afterwards is told as it is."""
    known = tmp_path / ".mlflow" / "credentials"
    known.parent.mkdir()
    known.write_text("[mlflow]\nmlflow_tracking_username = me\nmlflow_tracking_password = secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    login = f"Basic {base64.b64encode(b'me:secret').decode()}"

    def answer(request: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        address = urlsplit(request.path)
        if request.headers["Authorization"] != login:
            say(request, b"", 401)
        elif address.path.endswith("experiments/get-by-name"):
            (name,) = parse_qs(address.query)["experiment_name"]
            found = {"experiment_id": "1", "name": name, "lifecycle_stage": "active"}
            say(request, json.dumps({"experiment": found}).encode())
        else:
            say(request, b"the next one", 418)

    with serve(answer) as uri:
        outcome = upload_in_child(path, uri, UPLOAD_DEADLINE_S)

    assert outcome.reason is not None
    assert "the next one" in outcome.reason
    assert "401" not in outcome.reason


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_who_asks_for_a_client_s_certificate_is_left_to_mlflow(tmp_path: Path) -> None:
    own = tmp_path / "own.pem"
    made = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "2")
    subprocess.run(
        ["openssl", *made, "-keyout", own, "-out", tmp_path / "certificate"],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "certificate", own)
    context.verify_mode = ssl.CERT_REQUIRED
    environ = {"MLFLOW_TRACKING_INSECURE_TLS": "true"}
    certified = {**environ, "MLFLOW_TRACKING_CLIENT_CERT_PATH": str(own)}

    with serve(lambda request, _: say(request, b"{}"), context) as uri:
        left, told = find_outage(uri, certified), find_outage(uri, environ)
        untrusted = find_outage(uri, {**certified, "MLFLOW_TRACKING_INSECURE_TLS": "false"})

    assert left is not None
    assert not left.is_final
    assert told is not None
    assert told.is_final
    assert untrusted is not None
    assert untrusted.is_final


@pytest.mark.alone
@pytest.mark.slow
def test_a_server_that_falls_silent_costs_an_import_and_seconds(path: Path) -> None:
    importing = [sys.executable, "-c", "import mlflow"]
    began = time.monotonic()
    subprocess.run(importing, check=True, capture_output=True)
    import_s = time.monotonic() - began
    stop = threading.Event()

    def answer(request: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        if "experiments/search" in request.path:
            say(request, b"{}")
        else:
            stop.wait(60)

    with serve(answer) as uri:
        reason = _lose(path, _get_port(uri), LOST_AT_MOST_S + 2 * import_s)
        stop.set()
    assert "timeout=2" in reason


def test_a_child_past_its_deadline_is_killed(path: Path, silent_port: int) -> None:
    began = time.monotonic()
    outcome = upload_in_child(path, f"http://127.0.0.1:{silent_port}", 0.5)
    assert time.monotonic() - began < 2
    assert outcome.reason == "not finished within 0.5 s: sent nothing"
    assert read(path).mlflow == outcome.to_json()


def test_a_password_with_a_slash_is_not_in_the_report(path: Path) -> None:
    uri = "postgresql://me:se/cr et@127.0.0.1:1/db"

    outcome = postpone(path, uri, f"cannot connect to {uri}: refused")

    assert (outcome.uri, outcome.reason) == (
        "postgresql://",
        "cannot connect to postgresql://: refused",
    )
    assert "cr et" not in path.read_text(encoding="utf-8")


def test_what_a_newer_qgate_wrote_survives_an_upload(path: Path) -> None:
    known = json.loads(path.read_text())
    row = {**known["artifacts"][0]["checks"][0], "newer": 1}
    artifact = {**known["artifacts"][0], "newer": 2, "checks": [row]}
    newer = {**known, "newer": 3, "artifacts": [artifact]}
    path.write_text(json.dumps(newer))

    outcome = postpone(path, "http://x", "later")

    assert json.loads(path.read_text()) == {**newer, "mlflow": outcome.to_json()}


def test_a_lost_report_is_a_reason_not_a_crash(tmp_path: Path, closed_port: int) -> None:
    outcome = upload_in_child(
        tmp_path / "none.json", f"http://127.0.0.1:{closed_port}", UPLOAD_DEADLINE_S
    )
    assert not outcome.uploaded
    assert outcome.reason is not None
    assert "cannot be read: No such file or directory" in outcome.reason
