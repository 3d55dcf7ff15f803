"""Starts the child that serves a runtime: its interpreter, its environment, its directory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import qgate
from qgate.errors import RuntimeUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET_WORDS = (
    *("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL"),
    *("API_KEY", "ACCESS_KEY", "PRIVATE_KEY"),
)
_ADDRESS_WITH_LOGIN = re.compile(r"://[^/\s]*@")
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        # Threads that spin for long are up to 8 times slower on a busy machine. Threads that sleep
        # at once wake too late for the short steps of answers: a spin of microseconds halves their
        # time on two quiet cores, and costs up to a third of it on busy ones.
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
        "OPENBLAS_NUM_THREADS": "1",  # the reductions bring threads of their own
        "GGML_NO_BACKTRACE": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",
    }
)
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


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The parent's environment without secrets, with what runtimes need to behave."""
    kept = {name: value for name, value in environ.items() if not _is_secret(name, value)}
    return {**kept, **_SETTINGS}


def _is_secret(name: str, value: str) -> bool:
    return any(word in name.upper() for word in _SECRET_WORDS) or bool(
        _ADDRESS_WITH_LOGIN.search(value)
    )
