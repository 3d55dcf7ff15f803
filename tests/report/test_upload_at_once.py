"""Many uploads at once, of one report or of several, and uploads that are cut short."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from typing import TYPE_CHECKING, Any

import pytest

from qgate.report.mlflow.lock import alone, remove_left_over
from qgate.report.mlflow.runs import UploadError, upload
from qgate.report.mlflow.upload import resolve_uri, upload_in_child
from qgate.report.report_file import write
from tests.report.mlflow_stores import (
    UPLOAD_DEADLINE_S,
    count_runs,
    drip,
    forward,
    read_back,
    serve,
    serve_mlflow,
    start_python,
)

if TYPE_CHECKING:
    import http.server
    from pathlib import Path

    from qgate.records import Report

UPLOAD = """
import json, sys
from pathlib import Path
from qgate.report.mlflow.upload import upload_in_child
outcome = upload_in_child(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
print(json.dumps(outcome.to_json()))
"""
RUNS = 4
"""Of the report of these tests: the parent and three artifacts."""


def _write_sessions(report: Report, directory: Path, n: int) -> list[Path]:
    """A report of each of so many gates."""
    paths = [directory / f"gate-{number}" / "report.json" for number in range(n)]
    for number, path in enumerate(paths):
        environment = {**report.environment, "session_id": f"session-{number}"}
        write(dataclasses.replace(report, environment=environment), path)
    return paths


def _upload_at_once(paths: list[Path], uri: str, deadline_s: float) -> list[dict[str, Any]]:
    started = [start_python(UPLOAD, str(path), uri, str(deadline_s)) for path in paths]
    printed = [process.communicate(timeout=deadline_s + 60)[0] for process in started]
    return [json.loads(lines) for lines in printed]


@pytest.mark.slow
def test_gates_that_upload_first_at_once_make_the_embedded_store_together(
    report: Report, tmp_path: Path
) -> None:
    paths = _write_sessions(report, tmp_path, 4)
    uri = resolve_uri(None, {}, tmp_path)

    outcomes = _upload_at_once(paths, uri, 4 * UPLOAD_DEADLINE_S)

    assert [outcome.get("reason") for outcome in outcomes] == [None] * 4
    assert count_runs(uri) == {f"session-{number}": RUNS for number in range(4)}
    assert {path.name for path in (tmp_path / ".qgate").iterdir()} == {"mlflow.db", "mlartifacts"}


FULL_DISK = """
import resource, sys
most = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("most_bytes", [200_000, 600_000, 800_000])
def test_a_store_that_found_the_disk_full_is_made_once_there_is_space(
    path: Path, most_bytes: int
) -> None:
    uri = resolve_uri(None, {}, path.parent)
    store = path.parent / ".qgate" / "mlflow.db"
    arguments = (str(most_bytes), str(path), uri, str(UPLOAD_DEADLINE_S))

    printed, _ = start_python(FULL_DISK + UPLOAD, *arguments).communicate()

    left_over = list(store.parent.iterdir())
    assert upload_in_child(path, uri, UPLOAD_DEADLINE_S).reason is None
    assert json.loads(printed)["reason"].startswith(f"{store}: the store cannot be made: ")
    assert left_over == []


def test_who_sends_the_session_is_named(report: Report, path: Path) -> None:
    lock = path.with_name(".upload-6a1c2d3e-0000-4000-8000-000000000001.lock")
    holder = start_python(
        "import sys, time; from pathlib import Path; from qgate.report.mlflow.lock import alone\n"
        "with alone(Path(sys.argv[1]), 1): print('held', flush=True); time.sleep(600)",
        str(lock),
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"

    with pytest.raises(UploadError) as refused:
        upload(report, path, resolve_uri(None, {}, path.parent), lock_deadline_s=0.5)

    holder.kill()
    holder.communicate()
    process = f"process {holder.pid} holds {lock} for over 0.5 s"
    assert str(refused.value) == f"another upload of this session is at work: {process}"
    with alone(lock, 0):  # it went with its process
        assert lock.exists()
    assert not lock.exists()


def test_the_lock_of_an_upload_that_was_killed_is_removed_and_one_that_is_held_is_not(
    tmp_path: Path,
) -> None:
    left_over, held = tmp_path / ".upload-a.lock", tmp_path / ".upload-b.lock"
    left_over.touch()

    with alone(held, 0):
        remove_left_over(left_over)
        remove_left_over(held)
        assert [path.name for path in tmp_path.iterdir()] == [held.name]


def test_a_link_in_the_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("all of it")
    (tmp_path / "lock").symlink_to(precious)

    with pytest.raises(OSError, match="lock"), alone(tmp_path / "lock", 0):
        pytest.fail("it was followed")

    assert precious.read_text() == "all of it"


def _make_store(path: Path, uri: str) -> None:
    """As an upload of another session does."""
    report_json = json.loads(path.read_text())
    environment = {**report_json["environment"], "session_id": "makes-the-store"}
    first = path.with_name("first.json")
    first.write_text(json.dumps({**report_json, "environment": environment}))
    assert upload_in_child(first, uri, UPLOAD_DEADLINE_S).reason is None


@pytest.mark.slow
def test_uploads_of_one_report_at_once_are_one(path: Path) -> None:
    uri = resolve_uri(None, {}, path.parent)
    _make_store(path, uri)

    outcomes = _upload_at_once([path] * 3, uri, 4 * UPLOAD_DEADLINE_S)

    assert [outcome.get("reason") for outcome in outcomes] == [None] * 3
    assert len({outcome["parent_run_id"] for outcome in outcomes}) == 1
    assert set(count_runs(uri).values()) == {RUNS}
    assert {run["points"] for run in read_back(uri)["runs"]} == {1}


# Two machines have no lock in common: both have looked before either creates its parent.
TWO_MACHINES = """
import json, os, sys, threading
from pathlib import Path
import mlflow
from qgate.report.mlflow.runs import upload
from qgate.report.report_file import read
both, create, seen = threading.Barrier(2), mlflow.MlflowClient.create_run, threading.local()
def create_after_both_looked(*arguments, **named):
    if not hasattr(seen, "parent"):
        both.wait()
        seen.parent = create(*arguments, **named)
        both.wait()
        return seen.parent
    return create(*arguments, **named)
mlflow.MlflowClient.create_run = create_after_both_looked
outcomes = {}
def send(path):
    try:
        outcomes[path] = upload(read(path), path, sys.argv[3]).parent_run_id
    except Exception as error:
        outcomes[path] = str(error)
threads = [threading.Thread(target=send, args=(Path(path),)) for path in sys.argv[1:3]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps(list(outcomes.values())))
"""


@pytest.mark.slow
def test_uploads_of_one_report_from_two_machines_agree_on_its_runs(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / "report.json"
    copy.parent.mkdir()
    shutil.copyfile(path, copy)
    uri = resolve_uri(None, {}, tmp_path)
    _make_store(path, uri)

    process = start_python(TWO_MACHINES, str(path), str(copy), uri)
    printed, errors = process.communicate(timeout=2 * UPLOAD_DEADLINE_S)

    sent = json.loads(printed.splitlines()[-1])
    again = upload_in_child(path, uri, UPLOAD_DEADLINE_S)
    assert sent == [again.parent_run_id] * 2, errors
    assert set(count_runs(uri).values()) == {RUNS}


# What another machine does in the moment between this one's look and its next step.
MEANWHILE = """
import json, sys
from pathlib import Path
import mlflow
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import BAD_REQUEST, INTERNAL_ERROR
from qgate.report.mlflow.runs import upload
from qgate.report.report_file import read
path, uri, what = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
texts = {
    "sqlite": ("(sqlite3.IntegrityError) UNIQUE constraint failed: params.key", INTERNAL_ERROR),
    "postgres": ("(psycopg2.errors.UniqueViolation) duplicate key value", BAD_REQUEST),
}
client, taken = mlflow.MlflowClient, []
def meddle(name):
    plain = getattr(client, name)
    def first_time(self, run_id, *arguments, **named):
        if what in texts and name != "set_terminated" and (name, run_id) not in taken:
            taken.append((name, run_id))
            raise MlflowException(texts[what][0], texts[what][1])
        role = self.get_run(run_id).data.tags.get("mlflow.parentRunId") and "child" or "parent"
        if what == f"{role} {name}" and not taken:
            taken.append(run_id)
            self.delete_run(run_id)
        return plain(self, run_id, *arguments, **named)
    setattr(client, name, first_time)
for name in ("log_batch", "log_inputs", "set_tag", "set_terminated"):
    meddle(name)
print(json.dumps([upload(read(path), path, uri).parent_run_id, len(taken)]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    [
        *("sqlite", "postgres"),  # the same row was inserted
        *("parent set_tag", "child log_inputs"),  # this one's run was removed for that one's
    ],
)
def test_what_another_machine_took_meanwhile_is_looked_for_again(path: Path, what: str) -> None:
    uri = resolve_uri(None, {}, path.parent)

    printed, errors = start_python(MEANWHILE, str(path), uri, what).communicate()

    parent, times = json.loads(printed.splitlines()[-1]) if printed else (errors, 0)
    assert times >= 1, errors
    assert upload_in_child(path, uri, UPLOAD_DEADLINE_S).parent_run_id == parent
    assert set(count_runs(uri).values()) == {RUNS}


# With what a gate waits, and without that twenty processes first import mlflow on a few cores.
GATES = """
import json, os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import mlflow
from qgate.report.mlflow import upload
uri, *paths = sys.argv[1:]
os.environ.update(upload._make_environment(uri, 90.0))
with ThreadPoolExecutor(len(paths)) as gates:
    sent = gates.map(lambda path: upload._send(Path(path), uri, 90.0).to_json(), paths)
print(json.dumps(list(sent)))
"""


@pytest.mark.slow
def test_twenty_gates_at_once_all_reach_a_real_server(report: Report, tmp_path: Path) -> None:
    paths = _write_sessions(report, tmp_path, 20)
    with serve_mlflow(tmp_path) as uri:
        gates = start_python(GATES, uri, *map(str, paths))
        printed, errors = gates.communicate(timeout=5 * UPLOAD_DEADLINE_S)

        outcomes = json.loads(printed.splitlines()[-1])
        assert [outcome.get("reason") for outcome in outcomes] == [None] * 20, errors
        assert count_runs(uri) == {f"session-{number}": RUNS for number in range(20)}


# The command as it is, with a deadline that a test can wait for.
COMMAND = """
import sys
from qgate.report.mlflow import upload
upload.COMMAND_DEADLINE_S = float(sys.argv[3])
from qgate.cli.main import main
sys.exit(main(["upload", sys.argv[1], "--uri", sys.argv[2]]))
"""


@pytest.mark.slow
def test_a_server_that_drips_has_the_command_end_and_say_how_far_it_was(
    path: Path, tmp_path: Path
) -> None:
    stop, logged = threading.Event(), []
    with serve_mlflow(tmp_path) as server:

        def answer(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
            logged.append("log-inputs" in request.path)
            if sum(logged) >= 2:
                drip(request, stop)
            else:
                forward(request, body, server)

        with serve(answer) as uri:
            command = start_python(COMMAND, str(path), uri, "45")
            _, errors = command.communicate(timeout=2 * UPLOAD_DEADLINE_S)
            stop.set()
        again = upload_in_child(path, server, UPLOAD_DEADLINE_S)
        found = read_back(server)["runs"]

    assert command.returncode == 1
    assert errors == (
        f"mlflow: not uploaded to {uri} (not finished within 45 s: sent 1 of 4 runs). "
        "Run it again: it goes on where this one ended, and sends nothing twice\n"
    )
    assert again.reason is None
    assert [run["points"] for run in found] == [1] * RUNS


@pytest.mark.slow
def test_the_command_reaches_a_server_that_needs_seconds_for_each_answer(
    path: Path, tmp_path: Path
) -> None:
    never = threading.Event()
    with serve_mlflow(tmp_path) as server:

        def answer(request: http.server.BaseHTTPRequestHandler, body: bytes) -> None:
            never.wait(1.5)
            forward(request, body, server)

        with serve(answer) as uri:
            command = start_python(COMMAND, str(path), uri, "900")
            printed, errors = command.communicate(timeout=5 * UPLOAD_DEADLINE_S)

    assert (command.returncode, errors) == (0, "")
    assert printed.startswith(f"mlflow: {uri}, experiment qgate/qgate-demo-F16, run ")
