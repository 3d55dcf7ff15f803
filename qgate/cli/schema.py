"""`qgate schema`: the JSON schema of thresholds files."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def run_schema(_: argparse.Namespace) -> int:
    """Print it, with the options of every runtime and the rows of every check installed."""
    from qgate import runtimes
    from qgate.checks import own_checks
    from qgate.thresholds.schema import json_schema

    sys.stdout.write(json_schema(runtimes.options(), own_checks()))
    return 0
