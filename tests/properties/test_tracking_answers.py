"""What an MLflow server answers: whatever it is, it is an outage in one line or it is MLflow's."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgate.records import Report, Verdict
from qgate.report.mlflow.runs import UploadError, upload
from qgate.report.mlflow.server_check import find_outage
from qgate.report.report_file import write
from tests.properties.mutations import changed_bytes, changed_json
from tests.report.conftest import make_artifact, make_record
from tests.report.mlflow_stores import say, serve

if TYPE_CHECKING:
    import http.server
    from collections.abc import Iterator
    from pathlib import Path

    from hypothesis.strategies import DrawFn

EXPERIMENT = {
    "experiment_id": "1",
    "name": "qgate/qgate-demo-F16",
    "artifact_location": "mlflow-artifacts:/1",
    "lifecycle_stage": "active",
    "last_update_time": 1796027035947,
    "creation_time": 1796027035947,
}
REMEMBERED_KIB = 32
"""Measured: hypothesis keeps 16 KiB of each answer that it made (over 10,000), and an upload leaves
16 KiB behind in this process (over 300), fake server included. A gate's process uploads once."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "2", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}


@st.composite
def http_answers(draw: DrawFn) -> bytes:
    """An answer of which the body, a header or any byte is wrong."""
    body = draw(changed_json({"experiments": [EXPERIMENT]}))
    code = draw(st.sampled_from(("200 OK", "200", "204 No Content", "301 Moved", "401 No", "503")))
    length = draw(st.sampled_from((len(body), len(body), 0, 5, 10**6, -1, "x", 2**64)))
    more = draw(st.sampled_from(("", "Transfer-Encoding: chunked\r\n", "X: " + "y" * 70_000)))
    head = f"HTTP/1.1 {code}\r\nContent-Length: {length}\r\n{more}\r\n\r\n"
    raw = head.encode() + body
    return draw(st.one_of(st.just(raw), changed_bytes(raw)))


class _RawServer:
    """It says the same bytes to whoever connects, and hangs up."""

    def __init__(self) -> None:
        self.answer = b""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(self.answer)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def server() -> Iterator[_RawServer]:
    with contextlib.closing(_RawServer()) as found:
        yield found


@given(answer=http_answers())
def test_an_answer_to_the_first_question_is_mlflows_or_an_outage(
    server: _RawServer, answer: bytes
) -> None:
    server.answer = answer
    outage = find_outage(server.uri, _PATIENCE)
    if outage is None:
        assert b"{" in answer
    else:
        assert outage.reason


def _run(number: int, files: str) -> dict[str, Any]:
    info = {
        "run_id": f"{number:032x}",
        "run_uuid": f"{number:032x}",
        "experiment_id": "1",
        "status": "RUNNING",
        "start_time": 1796027035947,
        "lifecycle_stage": "active",
        "artifact_uri": files,
    }
    tags = [{"key": "qgate.session_id", "value": "6a1c2d3e-0000-4000-8000-000000000001"}]
    return {"info": info, "data": {"tags": tags}, "inputs": {}}


class _FakeMlflow:
    """A server of MLflow's words, of which one is wrong."""

    def __init__(self, files: Path) -> None:
        self.files, self.wrong, self._n = files.as_uri(), ("", b""), 0

    def answer(self, request: http.server.BaseHTTPRequestHandler, _: bytes) -> None:
        path = request.path.partition("?")[0].rpartition("/2.0/mlflow/")[2]
        self._n += 1
        sound: dict[str, Any] = {
            "experiments/search": {"experiments": [EXPERIMENT]},
            "experiments/get-by-name": {"experiment": EXPERIMENT},
            "runs/create": {"run": _run(self._n, self.files)},
            # never a wrong one: it names the place that files are written to
            "runs/get": {"run": _run(1, self.files)},
            "runs/search": {},
        }
        wrong_path, body = self.wrong
        say(request, body if path == wrong_path else json.dumps(sound.get(path, {})).encode())


@st.composite
def wrong_answers(draw: DrawFn) -> tuple[str, bytes]:
    """Which question is answered wrong, and how."""
    sound: dict[str, Any] = {
        "experiments/get-by-name": {"experiment": EXPERIMENT},
        "runs/create": {"run": _run(7, "mlflow-artifacts:/1")},
        "runs/search": {"runs": [_run(8, "mlflow-artifacts:/1")], "next_page_token": ""},
        "runs/log-batch": {},
        "runs/set-tag": {},
        "runs/update": {"run_info": _run(9, "")["info"]},
    }
    path = draw(st.sampled_from(sorted(sound)))
    return path, draw(changed_json({"": 1, **sound[path]}))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@given(wrong=wrong_answers())
def test_an_upload_survives_whatever_one_question_is_answered_with(
    fake: _FakeMlflow, fake_uri: str, sent: tuple[Report, Path], wrong: tuple[str, bytes]
) -> None:
    fake.wrong = wrong
    report, path = sent
    try:
        outcome = upload(report, path, fake_uri)
    except UploadError:
        pass
    else:
        assert outcome.uploaded
        assert outcome.parent_run_id


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> _FakeMlflow:
    return _FakeMlflow(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def fake_uri(fake: _FakeMlflow) -> Iterator[str]:
    quiet = ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT")
    with pytest.MonkeyPatch.context() as patch, serve(fake.answer) as uri:
        for name, value in {**_PATIENCE, **dict.fromkeys(quiet, "true")}.items():
            patch.setenv(name, value)
        with warnings.catch_warnings(action="ignore"):
            import mlflow  # noqa: F401 - seconds, which no example should be charged for
        yield uri


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    """A report of one artifact, and its file."""
    environment = {"session_id": "6a1c2d3e-0000-4000-8000-000000000001"}
    record = make_record("perplexity.increase", Verdict.PASS, (0.0081, 0.0066, 0.0097), max=0.5)
    artifact = make_artifact("qgate-demo-Q8_0", "Q8_0", 7_400_000, Verdict.PASS, record)
    reference = {"id": "qgate-demo-F16"}
    report = Report(
        verdict=Verdict.PASS, environment=environment, reference=reference, artifacts=(artifact,)
    )
    path = tmp_path_factory.mktemp("report") / "report.json"
    write(report, path)
    return report, path
