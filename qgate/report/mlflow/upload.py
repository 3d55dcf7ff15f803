"""The way of a finished report to MLflow: where to, in a child process, and what came of it.

The report is on disk before anything here runs. The upload happens in a child, so that mlflow
(seconds to import, and an owner of global state) never enters the user's pytest and an outage costs
seconds and no result. The child prints how far it is and at last the outcome as one line of JSON,
and the parent writes it into the report; `qgate upload REPORT` sends one again and logs nothing
twice.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import QGateError
from qgate.report import report_file
from qgate.report.mlflow.runs import UploadError, UploadOutcome, upload
from qgate.report.provenance import strip_credentials, strip_uri
from qgate.report.session_files import alone_with
from qgate.report.text import escape_line
from qgate.untrusted.json import Fields, strict_json
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from collections.abc import Mapping

COMMAND_DEADLINE_S = 900.0
"""For `qgate upload`: nothing waits for it, and it is what a slow server is reached by."""
_CLIENT_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
)
# mlflow's own defaults wait 246 s for a server that is down
_OF_A_GATE = MappingProxyType(
    {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
)
_OF_THE_COMMAND = MappingProxyType(
    {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5"}
)
_LOCKED_PART = 0.5
"""How much of the deadline may go by while another upload has the lock."""


def resolve_uri(option: str | None, environ: Mapping[str, str], invocation_dir: Path) -> str:
    """Return where to upload: the option, else MLFLOW_TRACKING_URI, else the embedded store.

    Never mlflow's own default, which depends on the working directory and on what lies in it.
    """
    named = option or environ.get("MLFLOW_TRACKING_URI")
    return named or f"sqlite:///{(invocation_dir / '.qgate' / 'mlflow.db').absolute()}"


def upload_in_child(report_path: Path, uri: str, deadline_s: float) -> UploadOutcome:
    """Upload a report that is on disk; never raises for anything that MLflow does.

    How long one answer is waited for, and how often it is asked for again, is the user's to say
    (MLFLOW_HTTP_REQUEST_TIMEOUT, MLFLOW_HTTP_REQUEST_MAX_RETRIES); else it goes by the deadline.

    Args:
        report_path: the finished report; its `mlflow` section is rewritten.
        uri: as `resolve_uri` gives it.
        deadline_s: the child is killed after this, whatever the server does; a first upload into a
            new SQLite store takes several seconds, most of them for mlflow's import and the making
            of its tables.
    """
    # -P: no module is imported from the working directory
    command = (sys.executable, "-P", "-m", __name__, str(report_path), str(deadline_s))
    environ = _make_environment(uri, deadline_s)
    try:
        # what a child that is killed leaves there goes with its parent, or the next gate
        with WorkFolder("qgate-upload-") as temporary:
            done = subprocess.run(
                command,
                env={**environ, "TMPDIR": str(temporary)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=deadline_s,
                check=False,
            )
    except subprocess.TimeoutExpired as expired:
        return postpone(report_path, uri, _describe_late(expired.stdout or b"", deadline_s))
    except OSError as error:
        return postpone(report_path, uri, f"no child process: {error.strerror}")
    try:
        line = strict_json(done.stdout.rstrip().rpartition(b"\n")[2])
        outcome = Fields(line, "the upload", UploadError).read(UploadOutcome)
    except (ValueError, UploadError):
        last_words = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return postpone(report_path, uri, f"the upload ended with {done.returncode}: {last_words}")
    return _record(report_path, outcome)


def _make_environment(uri: str, deadline_s: float) -> dict[str, str]:
    patience = _OF_THE_COMMAND if deadline_s >= COMMAND_DEADLINE_S else _OF_A_GATE
    # by environment, not by argument: an address may hold a password, and `ps` shows arguments
    named = {**patience, **os.environ, **_CLIENT_ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}
    package_root = str(Path(__file__).resolve().parents[3])
    if package_root not in sysconfig.get_paths().values():
        paths = (package_root, named.get("PYTHONPATH"))
        named["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    return named


def _describe_late(printed: bytes, deadline_s: float) -> str:
    sent = re.findall(rb"^sent \d+ of \d+ runs$", printed, re.MULTILINE)
    how_far = sent[-1].decode("ascii") if sent else "sent nothing"
    return f"not finished within {deadline_s:g} s: {how_far}"


def postpone(report_path: Path, uri: str, reason: str) -> UploadOutcome:
    """Write into a report why it was not sent, so that it can be sent later."""
    return _record(report_path, _make_failure(uri, reason))


def _send(report_path: Path, uri: str, deadline_s: float) -> UploadOutcome:
    try:
        report = report_file.read(report_path)
        return upload(report, report_path, uri, _LOCKED_PART * deadline_s, _print_progress)
    except QGateError as error:
        return _make_failure(uri, str(error))


def _print_progress(done: int, total: int) -> None:
    sys.stdout.write(f"sent {done} of {total} runs\n")
    sys.stdout.flush()


def _record(report_path: Path, outcome: UploadOutcome) -> UploadOutcome:
    """Write it into the report; where that fails, too, the reason says both."""
    try:
        _write_outcome(report_path, outcome)
    except QGateError as error:
        return _make_failure(outcome.uri, f"{outcome.reason or 'sent'}; {error}")
    return outcome


def _write_outcome(report_path: Path, outcome: UploadOutcome) -> None:
    with alone_with(report_path):
        report = report_file.read_json(report_path)
        report_file.read_report(report, str(report_path))
        # not the typed report: a newer qgate's keys stay
        report_file.write_json({**report, "mlflow": outcome.to_json()}, report_path)


def _make_failure(uri: str, reason: str) -> UploadOutcome:
    without = reason.replace(uri, strip_uri(uri))  # whole: in a text it would end at a space
    shown = escape_line(strip_credentials(" ".join(without.split())))[:500]
    return UploadOutcome(uri=strip_uri(uri), uploaded=False, reason=shown)


def _main(report_path: str, deadline: str) -> None:
    deadline_s = float(deadline)
    # without its parent it would wait for a server that drips for ever, and hold its lock
    signal.alarm(math.ceil(deadline_s) + 1)
    outcome = _send(Path(report_path), os.environ["MLFLOW_TRACKING_URI"], deadline_s)
    sys.stdout.write(f"{json.dumps(outcome.to_json())}\n")


if __name__ == "__main__":
    _main(*sys.argv[1:])
