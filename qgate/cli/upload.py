"""`qgate upload REPORT`: send a finished report to MLflow, again if need be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.report.report_file import read

if TYPE_CHECKING:
    import argparse


def run_upload(options: argparse.Namespace) -> int:
    from qgate.report.mlflow.upload import CLIENT_ENVIRONMENT, resolve_uri, upload_report

    # this process's own environment: mlflow reads it, and its defaults wait for minutes
    for name, value in CLIENT_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    meant_for = read(options.report).mlflow.get("uri")
    named = options.uri or os.environ.get("MLFLOW_TRACKING_URI") or meant_for
    outcome = upload_report(options.report, resolve_uri(named, os.environ, Path.cwd()))
    if outcome.uploaded:
        sys.stdout.write(
            f"mlflow: {outcome.uri}, experiment {outcome.experiment}, run {outcome.parent_run_id}\n"
        )
        return 0
    sys.stderr.write(f"mlflow: not uploaded to {outcome.uri} ({outcome.reason})\n")
    return 1
