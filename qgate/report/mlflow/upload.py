"""The way of a finished report to MLflow: where to, in a child process, and what came of it.

The report is on disk before anything here runs. The upload happens in a child, so that mlflow
(seconds to import, and an owner of global state) never enters the user's pytest and an outage costs
seconds and no result. The child prints the outcome as one line of JSON, and the parent writes it
into the report; `qgate upload REPORT` sends one again and logs nothing twice.
"""

from __future__ import annotations

import json
import os
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
from qgate.report.text import escape_line
from qgate.untrusted.json import Fields, strict_json

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENT_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # the defaults wait 246 s for a server that is down
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",
        "GIT_PYTHON_REFRESH": "quiet",
    }
)


def resolve_uri(option: str | None, environ: Mapping[str, str], invocation_dir: Path) -> str:
    """Return where to upload: the option, else MLFLOW_TRACKING_URI, else the embedded store.

    Never mlflow's own default, which depends on the working directory and on what lies in it.
    """
    named = option or environ.get("MLFLOW_TRACKING_URI")
    return named or f"sqlite:///{(invocation_dir / '.qgate' / 'mlflow.db').absolute()}"


def upload_in_child(report_path: Path, uri: str, deadline_s: float) -> UploadOutcome:
    """Upload a report that is on disk; never raises for anything that MLflow does.

    Args:
        report_path: the finished report; its `mlflow` section is rewritten.
        uri: as `resolve_uri` gives it.
        deadline_s: the child is killed after this; a first upload into a new SQLite store takes
            several seconds, most of them for mlflow's import and the making of its tables.
    """
    # -P: no module is imported from the working directory
    command = (sys.executable, "-P", "-m", __name__, str(report_path))
    # by environment, not by argument: an address may hold a password, and `ps` shows arguments
    environ = {**os.environ, **CLIENT_ENVIRONMENT, "MLFLOW_TRACKING_URI": uri}
    package_root = str(Path(__file__).resolve().parents[3])
    if package_root not in sysconfig.get_paths().values():
        paths = (package_root, environ.get("PYTHONPATH"))
        environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    try:
        done = subprocess.run(
            command,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=deadline_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return postpone(report_path, uri, f"not finished within {deadline_s:g} s")
    except OSError as error:
        return postpone(report_path, uri, f"no child process: {error.strerror}")
    try:
        line = strict_json(done.stdout.rstrip().rpartition(b"\n")[2])
        outcome = Fields(line, "the upload", UploadError).read(UploadOutcome)
    except (ValueError, UploadError):
        last_words = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return postpone(report_path, uri, f"the upload ended with {done.returncode}: {last_words}")
    return _record(report_path, outcome)


def upload_report(report_path: Path, uri: str) -> UploadOutcome:
    """Upload a report and write into it what came of that.

    Raises:
        UsageError: the report cannot be read or written.
    """
    outcome = _send(report_path, uri)
    _write_outcome(report_path, outcome)
    return outcome


def postpone(report_path: Path, uri: str, reason: str) -> UploadOutcome:
    """Write into a report why it was not sent, so that it can be sent later."""
    return _record(report_path, _make_failure(uri, reason))


def _send(report_path: Path, uri: str) -> UploadOutcome:
    try:
        return upload(report_file.read(report_path), report_path, uri)
    except UploadError as error:
        return _make_failure(uri, str(error))


def _record(report_path: Path, outcome: UploadOutcome) -> UploadOutcome:
    """Write it into the report; where that fails, too, the reason says both."""
    try:
        _write_outcome(report_path, outcome)
    except QGateError as error:
        return _make_failure(outcome.uri, f"{outcome.reason or 'sent'}; {error}")
    return outcome


def _write_outcome(report_path: Path, outcome: UploadOutcome) -> None:
    report = report_file.read_json(report_path)
    report_file.read_report(report, str(report_path))
    # not the typed report: a newer qgate's keys stay
    report_file.write_json({**report, "mlflow": outcome.to_json()}, report_path)


def _make_failure(uri: str, reason: str) -> UploadOutcome:
    without = reason.replace(uri, strip_uri(uri))  # whole: in a text it would end at a space
    shown = escape_line(strip_credentials(" ".join(without.split())))[:500]
    return UploadOutcome(uri=strip_uri(uri), uploaded=False, reason=shown)


if __name__ == "__main__":
    try:
        sent = _send(Path(sys.argv[1]), os.environ["MLFLOW_TRACKING_URI"])
    except QGateError as wrong:
        sys.exit(str(wrong))
    sys.stdout.write(f"{json.dumps(sent.to_json())}\n")
