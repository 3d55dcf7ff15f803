"""Compiles what a runtime imports, once for each installation.

Python keeps what it compiles beside the source, which a confined child cannot write: where an
installer has left that to the first import (uv does), every child would take seconds to compile
PyTorch anew. So the modules are imported once by a child that loads no model and is not confined,
as any other program of that environment would have done.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

from qgate.runtimes.confined.interpreters import places_of
from qgate.runtimes.confined.starting import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PATIENCE_S = 300.0
_ELSEWHERE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
"""With these nothing is kept where a confined child would find it."""
_IMPORTS = """
import contextlib, ctypes, importlib, signal, sys
with contextlib.suppress(OSError, AttributeError):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
for name in sys.argv[1:]:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
"""


def compile_once(python: str, imports: Sequence[str], environment: Mapping[str, str]) -> None:
    """Import these modules where nobody has; what fails here fails again where it is told.

    Args:
        python: the interpreter.
        imports: modules, those that import the most others.
        environment: of a child.
    """
    if any(map(environment.get, _ELSEWHERE)) or not _is_new(python, imports, environment):
        return
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        run([python, "-P", "-c", _IMPORTS, *imports], environment, None, _PATIENCE_S)


def _is_new(python: str, imports: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Whether a package was never imported by somebody who could keep what was compiled."""
    packages = {name.partition(".")[0] for name in imports}
    return any(
        os.access(place / package / "__init__.py", os.R_OK)
        and os.access(place / package, os.W_OK)
        and not os.access(place / package / "__pycache__", os.F_OK)
        for place in (places_of(python, environment) if packages else ())
        for package in packages
    )
