"""`qgate upload REPORT`: send a finished report to MLflow, again if need be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.report.report_file import read
from qgate.report.session_files import own_file, take_over_upload
from qgate.report.text import escape_line
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    import argparse


def run_upload(options: argparse.Namespace) -> int:
    from qgate.report.mlflow.upload import COMMAND_DEADLINE_S, resolve_uri, upload_in_child

    mlflow = Fields(read(options.report).mlflow, str(options.report), UsageError, place="mlflow")
    meant_for = mlflow.get("uri", str, default="")
    named = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or meant_for
    own = own_file(options.report)
    outcome = upload_in_child(own, resolve_uri(named, os.environ, Path.cwd()), COMMAND_DEADLINE_S)
    take_over_upload(own)
    take_over_upload(own, options.report)
    if outcome.uploaded:
        line = f"{outcome.uri}, experiment {outcome.experiment}, run {outcome.parent_run_id}"
        sys.stdout.write(f"{escape_line(f'mlflow: {line}')}\n")
        return 0
    again = "Run it again: it goes on where this one ended, and sends nothing twice"
    line = f"mlflow: not uploaded to {outcome.uri} ({outcome.reason}). {again}"
    sys.stderr.write(f"{escape_line(line)}\n")
    return 1
