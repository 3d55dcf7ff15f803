"""`qgate doctor`: what is installed, which formats can be served here, what serves the others.

Nothing of a runtime is imported: that a package is here is read off its metadata. Whether it works
is shown by the run that uses it.
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
from qgate.confinement.processors import usable_processors
from qgate.report.text import wrap
from qgate.runtimes import find_spec
from qgate.runtimes.selection import Machine, look
from qgate.runtimes.transformers.requirements import SCHEMES, installed
from qgate.runtimes.vllm.support import schemes_on

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

if TYPE_CHECKING:
    import argparse

_NONE = "not installed"
_WIDTH = 100
_GPU = "an NVIDIA GPU"
_GGUF, _UNQUANTIZED = "GGUF", "unquantized Hugging Face"
_READS: Mapping[str, str] = MappingProxyType({"gguf": "GGUF", "hf": "Hugging Face directories"})
_OTHERS = (
    ("lm-eval", "tasks by their names", 'pip install "pytest-qgate[tasks]"'),
    ("mlflow", "history of runs", "pip install mlflow"),
    ("nvidia-ml-py", "memory of GPUs", 'pip install "pytest-qgate[gpu]"'),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that may be installed."""

    name: str
    found: str
    """Its version and the device that it is built for; `not installed`."""
    serves: str
    """What it is for, and what installs it where it is not here."""


def run_doctor(_: argparse.Namespace) -> int:
    """Print it; the exit code is 0 whatever is missing, as nobody needs everything."""
    sys.stdout.write("".join(f"{line}\n" for line in describe(look(os.environ, {}))))
    return 0


def describe(machine: Machine) -> list[str]:
    """The lines of the page for this machine, of at most 100 columns."""
    gpu = _GPU if machine.has_gpu else "no NVIDIA GPU"
    python = platform.python_version()
    served, others = _formats(machine)
    return [
        f"qgate {__version__}, Python {python}, {usable_processors()} CPU cores, {gpu}",
        "installed:",
        *_table([*_runtimes(machine), *_packages()]),
        "formats that can be served here:",
        *_listed(served),
        "formats that need something else:",
        *_listed(others),
    ]


def _table(lines: list[Line]) -> list[str]:
    name, found = (max(len(getattr(line, part)) for line in lines) for part in ("name", "found"))
    return _indented(f"{line.name:{name}}  {line.found:{found}}  {line.serves}" for line in lines)


def _listed(formats: Mapping[str, list[str]]) -> list[str]:
    return _indented(f"{', '.join(names)}: {how}" for how, names in formats.items()) or ["  none"]


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {row}" for line in lines for row in wrap(line, _WIDTH - 2)]


def _runtimes(machine: Machine) -> list[Line]:
    lines = []
    for spec in machine.runtimes:
        if spec.distributions:
            reads = " and ".join(_READS.get(one, one) for one in sorted(spec.formats))
            build = machine.builds.get(spec.name)
            device = f" ({build.upper()})" if build else ""
            lines.append(_line(spec.name, spec.distributions, reads, spec.remedy, device))
    return lines


def _packages() -> list[Line]:
    return [_line(name, (name,), use, remedy) for name, use, remedy in _OTHERS]


def _line(
    name: str, distributions: tuple[str, ...], use: str, remedy: str, device: str = ""
) -> Line:
    known = [found for one in distributions if (found := _version(one))]
    if not known:
        return Line(name=name, found=_NONE, serves=f"{use}: {remedy}")
    return Line(name=name, found=f"{known[0]}{device}", serves=use)


def _formats(machine: Machine) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Formats by what serves them here, and the others by what they need."""
    served: dict[str, list[str]] = {}
    others: dict[str, list[str]] = {}
    names = [_GGUF, _UNQUANTIZED, *SCHEMES, *sorted(schemes_on("gpu") - {*SCHEMES})]
    for name in names:
        runtimes = _serving(name, machine)
        if runtimes:
            served.setdefault(" or ".join(runtimes), []).append(name)
        else:
            others.setdefault(_needs(name, machine), []).append(name)
    return served, others


def _serving(name: str, machine: Machine) -> list[str]:
    """The installed runtimes that lack nothing for this format."""
    ready = {spec.name for spec in machine.runtimes if not machine.lack(spec)}
    able = ("llama_cpp",) if name == _GGUF else ("transformers", "vllm")
    return [one for one in able if one in ready and not _missing(name, one, machine)]


def _missing(name: str, runtime: str, machine: Machine) -> list[str]:
    """What this runtime, once installed, lacks for the format."""
    if name in (_GGUF, _UNQUANTIZED):
        return []
    if runtime == "vllm":
        return [] if name in schemes_on(machine.device) else [_GPU]
    if name not in SCHEMES:
        return ["vLLM"]
    needs = SCHEMES[name]
    gpu = [_GPU] if needs.is_for_gpu and not machine.has_gpu else []
    is_complete = all(installed(package) for package in needs.packages)
    return [*gpu, *([] if is_complete else [needs.command])]


def _needs(name: str, machine: Machine) -> str:
    """What would serve it: in transformers where that knows the scheme, else in vLLM."""
    in_transformers = name == _UNQUANTIZED or name in SCHEMES
    runtime = "llama_cpp" if name == _GGUF else "transformers" if in_transformers else "vllm"
    spec = find_spec(runtime)
    first = [spec.remedy] if machine.lack(spec) else []
    return ", then ".join([*first, *_missing(name, runtime, machine)])


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""
