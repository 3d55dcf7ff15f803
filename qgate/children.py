"""Which child serves which model: one for each artifact, one for the original.

Nothing is started before something is asked; who measures what is in `qgate.bench`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate import artifacts, errors, runtimes
from qgate.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.records import Artifact
    from qgate.runtimes.host import Host, ProgressSink
    from qgate.thresholds import Thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run was told, as far as measuring needs it."""

    thresholds: Thresholds
    original: Artifact | None
    runtime: str | None
    """Overrides the choice by format."""
    directory: Path
    probes: Callable[[], tuple[Probe, ...]] = tuple
    """What fills the rows of tasks and edge cases; called when the first of them is measured."""
    progress: Callable[[str], AbstractContextManager[ProgressSink]]
    """progress(subject) shows what is reported to it while the block runs."""


class Children:
    """The models of a run and the processes that hold them."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._digests: dict[tuple[Path, ...], str] = {}
        self._servings: dict[str, Serving] = {}
        self.original_serving: Serving | None = None
        """The original's child, where something was asked of it."""

    def digest(self, artifact: Artifact) -> str:
        """`sha256:...` over its files, read once a run."""
        if artifact.files not in self._digests:
            self._digests[artifact.files] = artifacts.digest(artifact)
        return self._digests[artifact.files]

    def runtime_for(self, artifact: Artifact) -> str:
        named = self._setting.runtime or self._setting.thresholds.runtime.name
        return runtimes.choose(artifact, named)

    def serve(self, artifact: Artifact) -> Serving:
        """The artifact's one child; nothing starts before it is asked something."""
        self._servings[artifact.id] = self._serving(artifact, artifact.id)
        return self._servings[artifact.id]

    def of(self, artifact: Artifact) -> Serving:
        """The child that `serve` gave for the artifact."""
        return self._servings[artifact.id]

    def _serving(self, artifact: Artifact, subject: str) -> Serving:
        thresholds, original = self._setting.thresholds, self._setting.original
        longest = (original or artifact).context_length or 2**31
        return Serving(
            artifact,
            lambda: self._start(artifact, subject),
            window_tokens=min(thresholds.text.window_tokens, longest),
            threads=thresholds.runtime.threads,
        )

    def _start(self, artifact: Artifact, subject: str) -> Host:
        from qgate.runtimes.host import Host, HostSettings

        wanted = self._setting.thresholds.runtime
        settings = HostSettings(runtime=self.runtime_for(artifact), stall_s=wanted.stall_s)
        if wanted.python is not None:
            settings = dataclasses.replace(settings, python=str(wanted.python))
        return Host(settings, lambda: self._setting.progress(subject))

    def original(self) -> Artifact:
        """The original.

        Raises:
            ArtifactError: there is none.
        """
        original = self._setting.original
        if original is None:
            raise errors.ArtifactError(
                "no reference: no unquantized artifact in or beside the given paths."
                " Name one with --qgate-reference PATH"
            )
        return original

    def serve_original(self) -> Serving:
        """The original's child: one for the run, for every artifact is timed against it."""
        if self.original_serving is None:
            original = self.original()
            self.original_serving = self._serving(original, f"reference {original.id}")
        return self.original_serving

    def close(self) -> None:
        """End the original's child."""
        if self.original_serving is not None:
            self.original_serving.close()
