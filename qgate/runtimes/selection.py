"""Which runtime serves which artifact: one table, decided before anything is started.

Static and instant: nothing of a runtime is imported and no child is asked. That a package is
installed says no more than that a directory of its name can be found; whether it works is the
child's to tell. A runtime that is absent is chosen all the same where none other fits: its child
then names the command that installs it, on the artifact's rows.
"""

from __future__ import annotations

import difflib
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate import runtimes
from qgate.errors import RuntimeUnavailable, UsageError
from qgate.runtimes.builds import device_of
from qgate.runtimes.vllm.support import vllm_supports

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Artifact
    from qgate.runtimes.builds import Device
    from qgate.thresholds import RuntimeOptions

_READS: Mapping[str, str] = MappingProxyType(
    {"llama_cpp": "gguf", "transformers": "hf", "vllm": "hf"}
)
"""The one format that a runtime reads; who is not in here is taken at its word."""
_SERVE_ON_A_GPU = frozenset({"transformers", "vllm"})
"""What a model in these is meant for; a CPU only stands in."""
_FORMATS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "gguf": ("GGUF files", "a .gguf file"),
        "hf": ("Hugging Face directories", "a directory with config.json and *.safetensors"),
    }
)
_PACKAGES = ("llama_cpp", "transformers", "vllm")
"""Runtimes that are a package of the same name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine offers, as far as the choice goes by it."""

    has_gpu: bool
    """Whether a child would see one of NVIDIA's."""
    installed: frozenset[str]
    """Runtimes of `_PACKAGES` that are here or have an interpreter of their own."""
    builds: Mapping[str, Device] = field(default_factory=dict)
    """What they compute on, where their build tells: it may not be what the machine has."""

    def serves_on_gpu(self, runtime: str) -> bool:
        return self.has_gpu and self.builds.get(runtime) != "cpu"

    @property
    def lacks_vllm(self) -> str:
        """Why vLLM is not chosen whatever the model; empty where it may be."""
        if "vllm" not in self.installed:
            return "vLLM is not installed"
        device: Device = "gpu" if self.has_gpu else "cpu"
        build = self.builds.get("vllm", device)
        return "" if build == device else f"this vLLM is built for a {build.upper()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A runtime, and why this one."""

    name: str
    reason: str
    """One short phrase for the report."""
    is_stand_in: bool = False
    """Whether it is measured on a CPU in place of the GPU that will serve it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    """A line of the table; what is None does not matter."""

    format: str
    quantizes: bool | None = None
    """Whether the weights are quantized while they are loaded."""
    has_gpu: bool | None = None
    has_vllm: bool | None = None
    is_supported: bool | None = None
    """By vLLM, on this device."""
    runtime: str
    reason: str


_TABLE = (
    _Row(format="gguf", runtime="llama_cpp", reason="gguf"),
    _Row(
        format="hf", quantizes=True, runtime="transformers", reason="quantized while it is loaded"
    ),
    _Row(
        format="hf", has_gpu=True, has_vllm=False,
        runtime="transformers", reason="{lack}",
    ),
    _Row(
        format="hf", has_gpu=True, is_supported=True,
        runtime="vllm", reason="vLLM supports {scheme} on a GPU",
    ),
    _Row(
        format="hf", has_gpu=True,
        runtime="transformers", reason="vLLM does not support {scheme}",
    ),
    _Row(
        format="hf", has_vllm=False,
        runtime="transformers", reason="no GPU; {lack}",
    ),
    _Row(
        format="hf", is_supported=True,
        runtime="vllm", reason="no GPU; vLLM supports {scheme} on a CPU",
    ),
    _Row(
        format="hf",
        runtime="transformers",
        reason="no GPU; vLLM does not support this kind of {scheme} on a CPU",
    ),
)  # fmt: skip
"""The first line that fits decides."""


def look(
    environ: Mapping[str, str],
    settings: Mapping[str, RuntimeOptions],
    devices: Path = Path("/dev"),
) -> Machine:
    """What there is.

    Args:
        environ: of the children; `CUDA_VISIBLE_DEVICES` may hide every GPU.
        settings: by runtime; one with an interpreter of its own counts as installed.
        devices: where the kernel shows them.
    """
    found = {name for name in _PACKAGES if _is_installed(name)}
    found |= {name for name, options in settings.items() if options.python is not None}
    pythons = {name: options.python for name, options in settings.items()}
    builds = {name: device_of(name, pythons.get(name)) for name in found}
    has_device = any(devices.glob("nvidia[0-9]*"))
    return Machine(
        has_gpu=has_device and _shows_gpus(environ),
        installed=frozenset(found),
        builds={name: device for name, device in builds.items() if device},
    )


def _is_installed(package: str) -> bool:
    with suppress(ValueError):  # a module that somebody put into sys.modules without a spec
        spec = find_spec(package)
        # a directory that happens to have the name has no origin
        return spec is not None and spec.origin is not None
    return package in sys.modules


def _shows_gpus(environ: Mapping[str, str]) -> bool:
    """CUDA sees the devices that are listed before the first one that does not exist."""
    first = environ.get("CUDA_VISIBLE_DEVICES", "all").partition(",")[0].strip()
    return bool(first) and not first.startswith("-") and first != "NoDevFiles"


def choose(
    artifact: Artifact, override: str | None, machine: Machine, by: str = "--qgate-runtime"
) -> Choice:
    """The runtime that serves this artifact.

    Args:
        artifact: what is to be served.
        override: a runtime that the user named; taken where it reads the format at all.
        machine: what there is.
        by: the option or key by which the user named it, for messages.

    Raises:
        UsageError: `override` names no runtime.
        RuntimeUnavailable: `override` does not read the format.
    """
    if override is not None:
        _require_known(override, by)
        _require_readable(override, artifact, by)
        return _choice(override, by if by.startswith("-") else "thresholds file", machine)
    is_supported = vllm_supports(artifact, has_gpu=machine.serves_on_gpu("vllm"))
    known = {
        "format": artifact.format,
        "quantizes": artifact.quantize is not None,
        "has_gpu": machine.has_gpu,
        "has_vllm": not machine.lacks_vllm,
        "is_supported": is_supported,
    }
    row = next(
        row
        for row in _TABLE
        if all(getattr(row, name) in (None, value) for name, value in known.items())
    )
    what = artifact.scheme if artifact.is_quantized else "unquantized models"
    reason = row.reason.format(scheme=what, lack=machine.lacks_vllm)
    return _choice(row.runtime, reason, machine)


def _choice(name: str, reason: str, machine: Machine) -> Choice:
    is_stand_in = name in _SERVE_ON_A_GPU and not machine.serves_on_gpu(name)
    return Choice(name=name, reason=reason, is_stand_in=is_stand_in)


def serves(name: str, artifact: Artifact, machine: Machine) -> bool:
    """Whether this runtime, where it is installed, could hold this model on this machine."""
    if _READS.get(name, artifact.format) != artifact.format:
        return False
    return name != "vllm" or vllm_supports(artifact, has_gpu=machine.serves_on_gpu(name))


def _require_known(name: str, by: str) -> None:
    known = runtimes.names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(
            f"{by}: unknown runtime: got {name!r}; expected one of {', '.join(known)}.{hint}"
        )


def _require_readable(name: str, artifact: Artifact, by: str) -> None:
    wanted = _READS.get(name, artifact.format)
    if wanted != artifact.format:
        kind, _ = _FORMATS[artifact.format]
        _, expected = _FORMATS[wanted]
        raise RuntimeUnavailable(
            f"{artifact.id}: runtime {name!r} does not read {kind}: got {artifact.path.name};"
            f" expected {expected}. Leave out {by}, and each artifact gets the runtime that fits"
        )
