"""What a thresholds file says, once read: settings and layers of limits."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qgate.records import Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSettings:
    """What perplexity and divergence are measured on."""

    source: str | Path = "auto"
    """A str is one of `auto`, `generated`, `wikitext-2`; a Path is a file that exists."""
    windows: int = 64
    """How many at most; at least 2."""
    window_tokens: int = 512
    seed: int = 0
    positions: Literal["auto", "all"] = "auto"
    """Where whole distributions are compared; `auto` may take an even sample of scored tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    """What serves the artifacts."""

    name: str | None = None
    """None: chosen by the artifact's format. Whether it exists is for the runtimes to say."""
    python: Path | None = None
    """An executable file, not resolved: a virtual environment's python is a link."""
    stall_s: float = 300.0
    threads: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsFile:
    """A file that applied."""

    shown: str
    digest: str
    """`sha256:...` of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Limits that one place of one file sets for some artifacts."""

    scope: Literal["all", "scheme", "artifact"]
    pattern: str = "*"
    """A scheme in casefolded form, or a glob over artifact ids."""
    limits: Mapping[str, Limit | None]
    """By check; None where the file says `off`."""

    def applies_to(self, artifact_id: str, scheme: str) -> bool:
        if self.scope == "scheme":
            return scheme.casefold() == self.pattern
        return self.is_universal or fnmatch.fnmatchcase(artifact_id, self.pattern)

    @property
    def is_universal(self) -> bool:
        """True where no artifact can escape it."""
        return self.scope != "scheme" and self.pattern == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """All files together: settings, and the limits for any artifact."""

    text: TextSettings = field(default_factory=TextSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    files: tuple[ThresholdsFile, ...] = ()
    """In order of rising precedence."""
    layers: tuple[Layer, ...] = ()
    """In order of rising precedence."""

    def limits_for(self, artifact_id: str, scheme: str) -> Mapping[str, Limit]:
        """The limits that apply to one artifact, in the order of `CHECKS`.

        An entry replaces an inherited one as a whole; `off` removes it. May be empty where layers
        name other artifacts only: such an artifact has no gate and must not read as a pass.
        """
        effective: dict[str, Limit | None] = {}
        for layer in self.layers:
            if layer.applies_to(artifact_id, scheme):
                effective.update(layer.limits)
        limits = {check: effective.get(check) for check in CHECKS}
        return MappingProxyType({check: limit for check, limit in limits.items() if limit})

    def has_limits(self) -> bool:
        """False where no artifact whatever could get a limit."""
        return any(self._can_apply(check) for check in CHECKS)

    def _can_apply(self, check: str) -> bool:
        for layer in reversed(self.layers):
            if check in layer.limits:
                if layer.limits[check] is not None:
                    return True
                if layer.is_universal:
                    return False
        return False
