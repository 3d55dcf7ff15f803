"""The tool's own process: makes the artifacts that it is told to, and says so line by line.

Imports nothing but the standard library before the tool, for it may run under an interpreter in
which qgate is not installed. What the tool prints goes to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module
from pathlib import Path

from qgate.demo.formats.directories import finish


def main() -> None:
    """Make ``{name: directory}`` of the third argument with the module of the first.

    The second is the directory of the reference. Prints ``{"made": name}`` for each, or
    ``{"failed": name, "reason": text}``.
    """
    module, reference, jobs = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as report:
        os.dup2(2, 1)

        def say(**line: str) -> None:
            report.write(json.dumps(line) + "\n")
            report.flush()

        for name, target in jobs.items():
            try:
                tool = import_module(f"qgate.demo.formats.{module}")
                tool.quantize(name, reference, Path(target))
                finish(reference, Path(target))
            except Exception as error:
                lines = str(error).strip().splitlines() or [""]
                say(failed=name, reason=f"{type(error).__name__}: {lines[0]}".removesuffix(": "))
                raise
            say(made=name)
