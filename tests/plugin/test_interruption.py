"""Ctrl-C and SIGTERM in a long measurement or in the upload: nothing is left but the results."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CORE, Outcome, Project, core_limits, gating, script

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_ENDING_S = 7.0
"""GitHub sends SIGTERM 7.5 s after SIGINT, and kills 2.5 s after that."""
PATIENCE_S = 60.0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_the_child_goes_and_the_partial_report_stays(
    project: Project, toys: Callable[..., Path], name: str
) -> None:
    models = toys(a_good=Toy(noise=0.001), b_stuck=Toy(fault="hang:score"), c_later=Toy())
    mark = f"QGATE_TEST_RUN={project.directory}"
    key, _, value = mark.partition("=")
    # no --qgate-mlflow-uri: whoever interrupts must not wait for the embedded store either
    project.write("core.yaml", core_limits())
    limits = "--qgate-thresholds=core.yaml"
    command = [str(script()), *gating(models)[:2], *CORE, limits, "-v"]
    with (project.directory / "out.txt").open("w") as out:
        run = subprocess.Popen(
            command,
            cwd=project.directory,
            env={**project.environ, key: value, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
    try:
        wait_until_stuck(project.directory / "out.txt", mark, run.pid)
        began = time.monotonic()
        run.send_signal(signal.Signals[name])
        code = run.wait(timeout=PATIENCE_S)
        ending_s = time.monotonic() - began
    finally:
        run.kill()

    text = (project.directory / "out.txt").read_text()
    seen = Outcome(code=code, out=text, err="", directory=project.directory)
    assert seen.code == 2, text
    assert ending_s < MAX_ENDING_S
    assert processes_with(mark) == []
    finished = seen.verdicts("a_good")
    assert finished.pop("perplexity.increase") == "skipped"  # shown: the text is the reference's
    assert set(finished.values()) == {"pass"}
    assert seen.verdicts("b_stuck")["perplexity.ratio"] == "incomplete"
    assert set(seen.verdicts("c_later").values()) == {"incomplete"}
    assert seen.report()["verdict"] == "incomplete"
    (own,) = seen.own_reports()
    again = f"qgate upload .qgate/reports/{own.name}"
    assert f"mlflow: not uploaded (the run was interrupted). Send it again: {again}" in seen.lines


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_the_upload_is_given_up_and_the_table_is_there(
    project: Project, toys: Callable[..., Path], name: str
) -> None:
    """A server that accepts and never answers; the signal comes once it was called."""
    models = toys(good=Toy())
    with socket.socket() as server, (project.directory / "out.txt").open("w") as out:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.settimeout(PATIENCE_S)
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        run = subprocess.Popen(
            [*map(str, [script(), *gating(models)[:2]]), "-m", "integrity"],
            cwd=project.directory,
            env={**project.environ, "MLFLOW_TRACKING_URI": uri},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
        try:
            connection, _ = server.accept()
            with connection:
                run.send_signal(signal.Signals[name])
                code = run.wait(timeout=PATIENCE_S)
        finally:
            run.kill()

    text = (project.directory / "out.txt").read_text()
    seen = Outcome(code=code, out=text, err="", directory=project.directory)
    assert seen.code == 2, text
    assert "Traceback" not in text
    assert "6 passed" in seen.lines[-1]
    assert any(line.startswith("integrity.* (6 rows)") for line in seen.lines)
    (own,) = seen.own_reports()
    again = f"qgate upload .qgate/reports/{own.name}"
    why = "the upload was interrupted"
    assert f"mlflow: not uploaded ({why}). Send it again: {again}" in seen.lines
    mlflow = {"uri": uri, "uploaded": False, "reason": why}
    assert seen.report()["mlflow"] == mlflow


@pytest.mark.parametrize("login", ["", "me:secret@"])
def test_an_address_whose_login_no_report_holds_is_named_again(
    project: Project, toys: Callable[..., Path], login: str
) -> None:
    """By the option; the report keeps the address without its login."""
    gate = [*gating(toys(good=Toy()))[:2], f"--qgate-mlflow-uri=http://{login}127.0.0.1:9"]
    seen = project.pytest(*gate, "-m", "integrity")

    (own,) = seen.own_reports()
    again = f"qgate upload .qgate/reports/{own.name}" + (" --uri URI" if login else "")
    assert f"mlflow: not uploaded (Connection refused). Send it again: {again}" in seen.lines
    assert "secret" not in seen.text


@pytest.mark.parametrize(
    ("named", "environment", "again"),
    [
        ("http://127.0.0.1:9", "http://127.0.0.1:10", " --uri http://127.0.0.1:9"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9", ""),
        ("", "http://127.0.0.1:9", ""),
    ],
)
def test_an_address_that_the_environment_would_replace_is_named_again(
    project: Project, toys: Callable[..., Path], named: str, environment: str, again: str
) -> None:
    gate = [*gating(toys(good=Toy()))[:2], f"--qgate-mlflow-uri={named}"]
    seen = project.pytest(*gate, "-m", "integrity", MLFLOW_TRACKING_URI=environment)

    (own,) = seen.own_reports()
    line = f"qgate upload .qgate/reports/{own.name}{again}"
    assert f"mlflow: not uploaded (Connection refused). Send it again: {line}" in seen.lines


def heed_signals() -> None:
    """A shell's background job is told to ignore Ctrl-C, and tests may run in one."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)


def wait_until_stuck(out: Path, mark: str, pid: int) -> None:
    """Until the second artifact's child is there and has had time to hang."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        is_there = "test_chat_template[b_stuck] PASSED" in out.read_text()
        if is_there and [other for other in processes_with(mark) if other != pid]:
            time.sleep(1.5)
            return
        time.sleep(0.05)
    pytest.fail(f"the run never came to its second artifact:\n{out.read_text()}")


def processes_with(mark: str) -> list[int]:
    """Every process whose environment holds the mark."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit() or int(place.name) == os.getpid():
            continue
        try:
            environ = (place / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or another user's
            continue
        if mark.encode() in environ:
            found.append(int(place.name))
    return found
