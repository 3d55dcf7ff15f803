"""MLflow's stores for the tests of uploads: a real server, a proxy before it, what is in there."""

from __future__ import annotations

import contextlib
import http.client
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

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
UPLOAD_DEADLINE_S = 60.0

# mlflow warns and owns global state: it is looked at from a child process, as qgate uses it.
_READ_BACK = """
import json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])
experiments = client.search_experiments()
runs = client.search_runs([experiment.experiment_id for experiment in experiments])
print(json.dumps({
    "experiments": {experiment.name: experiment.artifact_location for experiment in experiments},
    "runs": [{
        "id": run.info.run_id, "started": run.info.start_time, "ended": run.info.end_time,
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


_COUNT = """
import collections, json, sys
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1], registry_uri=sys.argv[1])
experiments = [experiment.experiment_id for experiment in client.search_experiments()]
runs = client.search_runs(experiments)
print(json.dumps(collections.Counter(run.data.tags["qgate.session_id"] for run in runs)))
"""


def read_back(uri: str) -> dict[str, Any]:
    """What is in a store."""
    return _look(_READ_BACK, uri)


def count_runs(uri: str) -> dict[str, int]:
    """How many runs of each session are in a store."""
    return _look(_COUNT, uri)


def _look(code: str, uri: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code, uri],
        capture_output=True,
        check=True,
        timeout=2 * UPLOAD_DEADLINE_S,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def start_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own that imports this qgate."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def serve_mlflow(directory: Path) -> Iterator[str]:
    """A real server with a SQLite store."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ("--backend-store-uri", f"sqlite:///{directory / 'server.db'}")
    files = ("--artifacts-destination", str(directory / "files"), "--workers", "1")
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--port", str(port), *store, *files],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait_for(f"{uri}/health")
        yield uri
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


@contextlib.contextmanager
def serve(
    answer: Callable[[http.server.BaseHTTPRequestHandler, bytes], None],
    context: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """A server that answers each request as it is told to, with the request's body.

    With a context it speaks TLS, and each connection shakes hands when it is first read.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with contextlib.suppress(OSError):  # who asked may have gone
                answer(self, body)

        do_POST = do_PUT = do_PATCH = do_GET  # noqa: N815 - the names that http.server looks for

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if context is not None:
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
        server.shutdown()


def say(request: http.server.BaseHTTPRequestHandler, body: bytes, code: int = 200) -> None:
    """Answer with a body."""
    request.send_response(code)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def forward(request: http.server.BaseHTTPRequestHandler, body: bytes, uri: str) -> None:
    """Answer with what the server at `uri` answers."""
    connection = http.client.HTTPConnection(uri.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        names = ("Content-Type", "Authorization")
        headers = {name: request.headers[name] for name in names if request.headers[name]}
        connection.request(request.command, request.path, body or None, headers)
        answer = connection.getresponse()
        say(request, answer.read(), answer.status)


def drip(request: http.server.BaseHTTPRequestHandler, until: threading.Event) -> None:
    """Begin an answer and never end it: each byte comes in time."""
    request.send_response(200)
    request.send_header("Content-Length", "1000000")
    request.end_headers()
    while not until.wait(0.3):
        request.wfile.write(b" ")
        request.wfile.flush()
