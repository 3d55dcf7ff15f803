"""Which runtime serves the artifacts of a run, and which the reference that each is held against.

An artifact is held against the reference in its own runtime, where both load there; elsewhere the
reference is served where it is at home, which no artifact changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.runtimes import find_spec, selection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Artifact
    from qgate.runtimes.selection import Choice, Machine
    from qgate.thresholds import Thresholds

OF_THE_REFERENCE = "reference_"
"""Options of a runtime that begin so are for serving the reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeChoice:
    """What the choice goes by, beside the model: what the user named, and the machine."""

    thresholds: Thresholds
    named: str | None
    """By the command line."""
    machine: Machine

    @classmethod
    def of(
        cls, thresholds: Thresholds, named: str | None, environ: Mapping[str, str]
    ) -> RuntimeChoice:
        """On this machine, as children with this environment see it."""
        machine = selection.look(environ, thresholds.runtimes)
        return cls(thresholds=thresholds, named=named, machine=machine)

    def choose(self, artifact: Artifact) -> Choice:
        """The runtime that serves an artifact, and why.

        Raises:
            UsageError: the user named none that there is.
            RuntimeUnavailable: the one that was named cannot read the format.
        """
        by = "--qgate-runtime" if self.named else "runtime.name"
        return selection.choose(artifact, self._wanted, self.machine, by)

    def choose_for_reference(self, reference: Artifact, artifact: Artifact | None = None) -> str:
        """The runtime of the reference that the artifact is held against; without one: its home.

        Raises:
            QGateError: nothing serves it.
        """
        named = self.thresholds.runtime.reference
        if named is not None:
            return selection.choose(reference, named, self.machine, "runtime.reference").name
        wanted = self._wanted if artifact is None else self.choose(artifact).name
        if wanted is not None and self._could_serve(wanted, reference):
            return wanted
        return selection.choose(reference, None, self.machine).name

    def is_on_cpu(self, runtime: str) -> bool:
        """Whether the CPU of this machine serves it: not a GPU, nor a running server."""
        return not self.machine.serves_on_gpu(runtime) and not find_spec(runtime).is_remote

    @property
    def _wanted(self) -> str | None:
        return self.named or self.thresholds.runtime.name

    def _could_serve(self, runtime: str, reference: Artifact) -> bool:
        section = self.thresholds.runtimes.get(runtime)
        has_own = section is not None and f"{OF_THE_REFERENCE}url" in section.options
        if find_spec(runtime).is_remote and not has_own:
            return False  # a server holds one model, which is the artifact
        return selection.serves(runtime, reference, self.machine)
