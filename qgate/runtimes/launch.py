"""Starts the child that serves a runtime: its interpreter, its environment, its directory."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import qgate
from qgate.errors import RuntimeUnavailable
from qgate.runtimes.confined import starting
from qgate.runtimes.environment import child_environment

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Collection

    from qgate.runtimes.host import HostSettings

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


def start(settings: HostSettings, directory: str) -> subprocess.Popen[bytes]:
    """A child in a session of its own, its three streams as pipes.

    Raises:
        RuntimeUnavailable: its interpreter cannot be started.
    """
    python = settings.python
    package = str(Path(qgate.__file__).resolve().parent)
    environment = environment_for(python, settings.variables)
    command = [shutil.which(python) or python, "-P", "-c", _BOOTSTRAP, package, settings.runtime]
    try:
        _require_program(command[0])
        return starting.start(command, environment, directory, settings.confinement, settings.reach)
    except OSError as error:
        raise RuntimeUnavailable(
            f"runtime.python: cannot start {python!r}: {error.strerror};"
            " expected a Python interpreter"
        ) from error


def kill_within(confined: subprocess.Popen[bytes]) -> None:
    """Kill the first process of a confined child's namespace, and so all of them."""
    if confined.poll() is not None:
        return
    with contextlib.suppress(OSError):
        for name in Path(f"/proc/{confined.pid}/task/{confined.pid}/children").read_text().split():
            os.kill(int(name), signal.SIGKILL)


def environment_for(python: str, variables: Collection[str] = ()) -> dict[str, str]:
    """Of a child under that interpreter, with variables that its runtime alone gets."""
    environment = child_environment(os.environ, variables)
    if python != sys.executable:
        for name in _MEANT_FOR_THIS_PYTHON:
            environment.pop(name, None)
    return environment


def _require_program(path: str) -> None:
    """What confines a child starts whatever it is told to confine."""
    if Path(path).is_dir() or not os.access(path, os.X_OK):
        number = errno.EACCES if Path(path).exists() else errno.ENOENT
        raise OSError(number, os.strerror(number))
