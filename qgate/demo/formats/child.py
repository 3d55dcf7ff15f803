"""Runs a tool in a process of its own, whose output is seen only when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import qgate
from qgate.demo.formats.recipes import FormatError
from qgate.runtimes.environment import child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import IO

    from qgate.demo.formats.recipes import Tool

_BOOTSTRAP = """
import importlib.util, sys
where = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "qgate", where + "/__init__.py", submodule_search_locations=[where])
sys.modules["qgate"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from qgate.demo.formats.worker import main
main()
"""
"""As in `qgate.runtimes.launch`: of this environment nothing but the package comes along."""
_LOOK = (
    "import importlib.util, sys;"
    " print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))"
)
_LOOK_S = 60


def missing_packages(python: str, packages: tuple[str, ...]) -> list[str]:
    """Return those of the packages that an interpreter cannot import.

    Raises:
        FormatError: there is no such interpreter.
    """
    if python == sys.executable:
        return [name for name in packages if find_spec(name) is None]
    try:
        done = subprocess.run(
            [python, "-P", "-c", _LOOK, *packages],
            env=_environment(python, ()),
            capture_output=True,
            text=True,
            timeout=_LOOK_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise FormatError(f"cannot start {python!r}; expected a Python interpreter") from error
    return done.stdout.split()


def run(python: str, tool: Tool, reference: Path, jobs: Mapping[str, Path]) -> Iterator[str]:
    """Make artifacts by format name in the given directories; yield each name when it is whole.

    Raises:
        FormatError: the tool failed or its process ended; names the format and the reason.
    """
    package = str(Path(qgate.__file__).resolve().parent)
    asked = json.dumps({name: str(path.resolve()) for name, path in jobs.items()})
    command = [
        python,
        "-P",
        "-c",
        _BOOTSTRAP,
        package,
        tool.module,
        str(reference.resolve()),
        asked,
    ]
    left = list(jobs)
    with tempfile.TemporaryFile() as errors, tempfile.TemporaryDirectory() as room:
        process = subprocess.Popen(
            command,
            cwd=room,
            env=_environment(python, tool.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
        with process:
            try:
                for line in process.stdout or ():
                    answer = json.loads(line)
                    if "failed" in answer:
                        raise FormatError(f"{answer['failed']}: {answer['reason']}")
                    left.remove(answer["made"])
                    yield answer["made"]
            finally:
                process.kill()
        if left:
            raise FormatError(f"{left[0]}: {tool.module} ended: {_last_line(errors)}")


def _environment(python: str, own: tuple[tuple[str, str], ...]) -> dict[str, str]:
    environment = {**child_environment(os.environ), **dict(own)}
    if python != sys.executable:
        for name in ("PYTHONPATH", "PYTHONHOME"):
            environment.pop(name, None)
    return environment


def _last_line(errors: IO[bytes]) -> str:
    errors.seek(0)
    lines = errors.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no reason given")
