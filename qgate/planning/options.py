"""The options that decide what is measured; imports nothing, as pytest reads them while idle."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the user asked for, as far as it decides what is measured; every path is absolute."""

    paths: tuple[Path, ...]
    directory: Path
    """Where the run was started: paths are shown relative to it, stores lie in its `.qgate`."""
    reference: Path | None = None
    thresholds: Path | None = None
    runtime: str | None = None
    effort: str | None = None
    """As it was written; None: the default."""
    trust_remote_code: bool = False
    pythons: Mapping[str, Path] = field(default_factory=dict)
    """Interpreters by runtime: executable files, not resolved; only where no thresholds file names
    one for that runtime."""
    checks: tuple[str, ...] = ()
    """The project's own, as `module:name`."""
    scorers: Mapping[str, object] = field(default_factory=dict)
    """Functions of the project's own that grade answers, by name."""
