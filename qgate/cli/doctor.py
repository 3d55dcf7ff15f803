"""`qgate doctor`: what is installed, which formats can be served on this machine, what to install.

Nothing of a runtime is imported: that a package is here is read off its metadata. Whether it works
is told by the run that uses it.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate import __version__
from qgate.runtimes.selection import Machine, look
from qgate.runtimes.transformers.requirements import SCHEMES

if TYPE_CHECKING:
    from collections.abc import Mapping

_NONE = "not installed"
_READS: Mapping[str, str] = MappingProxyType({"gguf": "GGUF", "hf": "Hugging Face directories"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that may be installed."""

    name: str
    found: str
    """Its version and the device that it is built for; `not installed`."""
    serves: str
    remedy: str
    """What installs it; empty where it is here."""


def run_doctor() -> int:
    """Print it; the exit code is 0 whatever is missing, as nobody needs everything."""
    sys.stdout.write("".join(f"{line}\n" for line in describe(look(os.environ, {}))))
    return 0


def describe(machine: Machine) -> list[str]:
    """The lines of the page, for this machine."""
    lines = [*_runtimes(machine), *_schemes(), *_others()]
    name, found, serves = (
        max(len(getattr(line, part)) for line in lines) for part in ("name", "found", "serves")
    )
    gpu = "an NVIDIA GPU" if machine.has_gpu else "no NVIDIA GPU"
    return [
        f"qgate {__version__}, Python {platform.python_version()}, {os.cpu_count()} CPU cores,"
        f" {gpu}",
        *(
            f"{line.name:{name}}  {line.found:{found}}  {line.serves:{serves}}"
            f"  {line.remedy}".rstrip()
            for line in lines
        ),
    ]


def _runtimes(machine: Machine) -> list[Line]:
    return [
        _line(
            spec.name,
            spec.distributions,
            " and ".join(_READS[one] for one in sorted(spec.formats)),
            spec.remedy,
            machine,
        )
        for spec in machine.runtimes
        if spec.distributions
    ]


def _schemes() -> list[Line]:
    """Of quantized Hugging Face directories, what each needs in transformers."""
    return [
        _line(f"  {scheme}", needs.packages[:1], "in transformers", needs.command)
        for scheme, needs in SCHEMES.items()
        if needs.packages and not needs.is_for_gpu
    ]


def _others() -> list[Line]:
    tasks = 'pip install "pytest-qgate[tasks]"'
    return [
        _line("lm-eval", ("lm-eval",), "tasks by their names", tasks),
        _line("mlflow", ("mlflow",), "history of runs", "pip install mlflow"),
        _line(
            "nvidia-ml-py",
            ("nvidia-ml-py",),
            "memory of GPUs",
            'pip install "pytest-qgate[gpu]"',
        ),
    ]


def _line(
    name: str,
    distributions: tuple[str, ...],
    serves: str,
    remedy: str,
    machine: Machine | None = None,
) -> Line:
    known = [found for one in distributions if (found := _version(one))]
    if not known:
        return Line(name=name, found=_NONE, serves=serves, remedy=remedy)
    build = machine.builds.get(name) if machine else None
    device = f" ({build.upper()})" if build else ""
    return Line(name=name, found=f"{known[0]}{device}", serves=serves, remedy="")


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
