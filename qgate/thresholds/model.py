"""What a thresholds file says, once read: settings and layers of limits."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.checks import CHECKS
from qgate.thresholds.bands import UNKNOWN
from qgate.thresholds.settings import (
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeOptions,
    RuntimeSettings,
    TextSettings,
)
from qgate.thresholds.values import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from qgate.records import Limit, SourceLine
    from qgate.thresholds.task_settings import TaskSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsFile:
    """A file that applied."""

    shown: str
    digest: str
    """`sha256:...` of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Limits that one place of one file sets for some artifacts."""

    scope: Literal["all", "band", "scheme", "artifact"]
    pattern: str = "*"
    """The name of a band, a glob over schemes (in any case), or a glob over artifact ids."""
    limits: Mapping[str, Limit | None]
    """By check; None where the file says `off`."""
    source: SourceLine | None = None
    """Of a pattern that has to match something: where somebody wrote it."""

    def applies_to(self, artifact_id: str, scheme: str, band: str) -> bool:
        if self.scope == "band":
            return band == self.pattern
        if self.scope == "scheme":
            return fnmatch.fnmatchcase(scheme.casefold(), self.pattern.casefold())
        return self.is_universal or fnmatch.fnmatchcase(artifact_id, self.pattern)

    @property
    def is_universal(self) -> bool:
        """True where no artifact can escape it."""
        return self.scope not in ("band", "scheme") and self.pattern == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """All files together: settings, and the limits for any artifact."""

    text: TextSettings = field(default_factory=TextSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    runtimes: Mapping[str, RuntimeOptions] = field(default_factory=dict)
    """By the runtime's name; empty where no file says anything."""
    tasks: tuple[TaskSettings, ...] = ()
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    files: tuple[ThresholdsFile, ...] = ()
    """In order of rising precedence."""
    layers: tuple[Layer, ...] = ()
    """In order of rising precedence."""

    def limits_for(self, artifact_id: str, scheme: str, band: str = UNKNOWN) -> Mapping[str, Limit]:
        """The limits that apply to one artifact, in the order of `in_report_order`.

        An entry replaces an inherited one as a whole; `off` removes it. May be empty where layers
        name other artifacts only: such an artifact has no gate and must not read as a pass.
        """
        effective: dict[str, Limit | None] = {}
        for layer in self.layers:
            if layer.applies_to(artifact_id, scheme, band):
                effective.update(layer.limits)
        limits = {check: effective.get(check) for check in in_report_order(effective)}
        return MappingProxyType({check: limit for check, limit in limits.items() if limit})

    def unmatched(self, schemes: Mapping[str, str | None]) -> tuple[str, ...]:
        """A line for each pattern of a user's that is of no artifact.

        Args:
            schemes: by the artifacts' ids; None: it is unknown, so that any pattern may be of it.
        """
        lines = []
        for layer in self.layers:
            if layer.source is None or layer.source.is_shipped:
                continue
            if any(layer.applies_to(name, scheme or "", "") for name, scheme in schemes.items()):
                continue
            is_by_scheme = layer.scope == "scheme"
            if is_by_scheme and None in schemes.values():
                continue
            known = dict.fromkeys(map(str, schemes.values() if is_by_scheme else schemes))
            lines.append(
                f"{layer.source}: {layer.scope}s: got {shown(layer.pattern)}, which matches no "
                f"artifact; expected one of {', '.join(known)}."
                f"{did_you_mean(layer.pattern, known)}"
            )
        return tuple(lines)

    def with_python(self, runtime: str, python: Path) -> Thresholds:
        """The same, with an interpreter for a runtime for which no file names one."""
        known = self.runtimes.get(runtime, RuntimeOptions())
        if known.python is not None:
            return self
        options = dataclasses.replace(known, python=python)
        return dataclasses.replace(self, runtimes={**self.runtimes, runtime: options})

    def reachable(self) -> Iterator[Limit]:
        """The limits that an artifact could get; empty where no artifact whatever has one."""
        settled: set[str] = set()
        for layer in reversed(self.layers):
            for check, limit in layer.limits.items():
                if limit is not None and check not in settled:
                    yield limit
            if layer.is_universal:
                settled |= layer.limits.keys()


def in_report_order(names: Iterable[str]) -> tuple[str, ...]:
    """Every row of `CHECKS` in its order, and any others (those of tasks) before the edge cases."""
    known = tuple(CHECKS)
    first_edge = next(at for at, name in enumerate(known) if CHECKS[name].area == "edge")
    others = tuple(name for name in names if name not in CHECKS)
    return (*known[:first_edge], *others, *known[first_edge:])
