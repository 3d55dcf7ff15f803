"""`python -m qgate.thresholds > thresholds/schema.json`."""

from __future__ import annotations

import sys

from qgate.thresholds.schema import json_schema

if __name__ == "__main__":
    sys.stdout.write(json_schema())
