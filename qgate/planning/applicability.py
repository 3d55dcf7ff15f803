"""Which limits an artifact is held to: those on what its runtime can measure, and measures truly.

On a CPU, transformers and vLLM stand in for the GPU that will serve the model: weights are unpacked
or kernels emulated, and all is computed in other number formats. Likelihoods and answers are those
of the artifact all the same; times and bytes are not those of serving it. Nor do times and bytes
compare with those of an original that another runtime serves: 16-bit weights that a stand-in widens
would let an artifact of their own size pass. So the shipped limits on these do not apply there. The
rows are measured and shown; a limit of the user's own does apply.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from qgate import errors
from qgate.checks import area_of
from qgate.thresholds import band_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qgate.records import Artifact, Limit
    from qgate.runtimes.selection import Choice
    from qgate.thresholds import Thresholds

_OF_SERVING = frozenset({"latency", "memory"})
"""Lines of the checklist that say nothing of the artifact where something else serves it."""
_OVER_THE_ORIGINALS = frozenset(
    {"latency.ttft", "latency.itl", "latency.tps", "memory.weights", "memory.peak"}
)
"""Rows of these that are ratios to the original's."""


class Applicable:
    """Limits by artifact and runtime.

    Args:
        thresholds: of the run.
        choose: the runtime of an artifact.
        choose_for_original: the name of the runtime of the original that it is held against.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        choose: Callable[[Artifact], Choice],
        choose_for_original: Callable[[Artifact], str],
    ) -> None:
        self._thresholds, self._choose = thresholds, choose
        self._choose_for_original = choose_for_original

    def limits(self, artifact: Artifact) -> dict[str, Limit]:
        """The limits of the rows that its runtime can measure, less shipped ones on a stand-in."""
        choice = self._chosen(artifact)
        if choice is None:
            return self._all(artifact)
        is_elsewhere = self._is_original_elsewhere(artifact, choice)
        return {
            name: limit
            for name, limit in self._all(artifact).items()
            if area_of(name) not in choice.unmeasured
            and not (
                limit.source.is_shipped and _is_untrue(name, choice, is_elsewhere=is_elsewhere)
            )
        }

    def is_beyond(self, check: str, artifact: Artifact) -> bool:
        """Whether its runtime measures nothing of that line of the checklist."""
        choice = self._chosen(artifact)
        return choice is not None and area_of(check) in choice.unmeasured

    def require_measurable(self, artifacts: Iterable[Artifact]) -> None:
        """Refuse a limit of the user's that a runtime cannot be held to.

        A shipped limit is for every runtime: where one cannot be held to it, it does not apply.

        Raises:
            UsageError: a runtime is misspelt.
            ThresholdsError: naming the limit's line.
        """
        for artifact in artifacts:
            choice = self._chosen(artifact)
            if choice is None:
                continue
            for check, limit in self._all(artifact).items():
                if area_of(check) in choice.unmeasured and not limit.source.is_shipped:
                    raise errors.ThresholdsError(
                        f"{limit.source}: {check}: got a limit for {artifact.id}, which"
                        f" {choice.name!r} serves; expected a runtime that measures"
                        f" {area_of(check)}. Remove the limit, or name another runtime"
                    )

    def _all(self, artifact: Artifact) -> dict[str, Limit]:
        band = band_of(artifact.bits).name
        limits = dict(self._thresholds.limits_for(artifact.id, artifact.scheme, band))
        if artifact.bits is None:
            return {name: _of_unknown(limit) for name, limit in limits.items()}
        return limits

    def _is_original_elsewhere(self, artifact: Artifact, choice: Choice) -> bool:
        with suppress(errors.QGateError):  # without an original its rows are errors anyway
            return self._choose_for_original(artifact) != choice.name
        return False

    def _chosen(self, artifact: Artifact) -> Choice | None:
        # no runtime at all is an error of its rows, not of the run
        with suppress(errors.RuntimeUnavailable):
            return self._choose(artifact)
        return None


def _of_unknown(limit: Limit) -> Limit:
    """The same limit, which says that the band is not by measured bits."""
    return replace(limit, band=f"{limit.band}, as its own are unknown") if limit.band else limit


def _is_untrue(check: str, choice: Choice, *, is_elsewhere: bool) -> bool:
    is_of_serving = choice.is_stand_in and area_of(check) in _OF_SERVING
    return is_of_serving or (is_elsewhere and check in _OVER_THE_ORIGINALS)
