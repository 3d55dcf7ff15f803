"""Starts the child that serves a runtime: its interpreter, its environment, its directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import qgate
from qgate.errors import RuntimeUnavailable
from qgate.runtimes.environment import child_environment

_MEANT_FOR_THIS_PYTHON = ("PYTHONPATH", "PYTHONHOME")
# The package is loaded from its own directory, so that under another interpreter nothing else of
# this environment's site-packages comes along.
_BOOTSTRAP = """
import importlib.util, sys
where = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "qgate", where + "/__init__.py", submodule_search_locations=[where])
sys.modules["qgate"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from qgate.runtimes.worker.main import main
main()
"""


def start(python: str, runtime: str, directory: str) -> subprocess.Popen[bytes]:
    """A child in a session of its own, its three streams as pipes.

    Raises:
        RuntimeUnavailable: `python` cannot be started.
    """
    package = str(Path(qgate.__file__).resolve().parent)
    environment = child_environment(os.environ)
    if python != sys.executable:
        for name in _MEANT_FOR_THIS_PYTHON:
            environment.pop(name, None)
    try:
        return subprocess.Popen(
            [python, "-P", "-c", _BOOTSTRAP, package, runtime],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=directory,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise RuntimeUnavailable(
            f"runtime.python: cannot start {python!r}: {error.strerror};"
            " expected a Python interpreter"
        ) from error
