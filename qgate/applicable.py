"""Which limits an artifact is held to: those that its runtime can measure."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from qgate import errors, runtimes
from qgate.checks import area_of
from qgate.thresholds import SHIPPED_SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qgate.records import Artifact, Limit
    from qgate.thresholds import Thresholds


class Applicable:
    """Limits by artifact and runtime."""

    def __init__(self, thresholds: Thresholds, runtime_for: Callable[[Artifact], str]) -> None:
        self._thresholds, self._runtime_for = thresholds, runtime_for

    def limits(self, artifact: Artifact) -> dict[str, Limit]:
        """The limits of the rows that its runtime can measure."""
        beyond = self._beyond(artifact)
        return {
            name: limit
            for name, limit in self._all(artifact).items()
            if area_of(name) not in beyond
        }

    def is_beyond(self, check: str, artifact: Artifact) -> bool:
        """Whether its runtime measures nothing of that line of the checklist."""
        return area_of(check) in self._beyond(artifact)

    def require_measurable(self, artifacts: Iterable[Artifact]) -> None:
        """Refuse a limit of the user's that a runtime cannot be held to.

        A shipped limit is for every runtime: where one cannot be held to it, it does not apply.

        Raises:
            UsageError: a runtime is misspelt.
            ThresholdsError: naming the limit's line.
        """
        for artifact in artifacts:
            beyond = self._beyond(artifact)
            for check, limit in self._all(artifact).items():
                if area_of(check) in beyond and limit.source.path != SHIPPED_SHOWN:
                    raise errors.ThresholdsError(
                        f"{limit.source}: {check}: got a limit for {artifact.id}, which"
                        f" {self._runtime_for(artifact)!r} serves; expected a runtime that measures"
                        f" {area_of(check)}. Remove the limit, or name another runtime"
                    )

    def _all(self, artifact: Artifact) -> dict[str, Limit]:
        return dict(self._thresholds.limits_for(artifact.id, artifact.scheme))

    def _beyond(self, artifact: Artifact) -> frozenset[str]:
        # no runtime at all is an error of its rows, not of the run
        with suppress(errors.RuntimeUnavailable):
            return runtimes.beyond(self._runtime_for(artifact))
        return frozenset()
