"""Which limits an artifact is held to: those on what its runtime can measure, and measures truly.

On a CPU, transformers and vLLM stand in for the GPU that will serve the model: weights are unpacked
or kernels emulated, and all is computed in other number formats. Likelihoods and answers are those
of the artifact all the same; times and bytes are not those of serving it. Nor do times and bytes
compare with those of a reference that another runtime serves: 16-bit weights that a stand-in widens
would let an artifact of their own size pass. So the shipped limits on these do not apply there. The
rows are measured and shown; a limit of the user's own does apply.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qgate.checks import CHECKS, area_of, find_check
from qgate.errors import ThresholdsError
from qgate.thresholds import band_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.errors import QGateError
    from qgate.records import Artifact, Limit
    from qgate.runtimes.selection import Choice
    from qgate.thresholds import EdgeSettings, Thresholds

_OF_SERVING = frozenset({"latency", "memory"})
"""Lines of the checklist that say nothing of the artifact where something else serves it."""


def limits_of(artifact: Artifact, thresholds: Thresholds) -> dict[str, Limit]:
    """All that the thresholds say of it, by the bits of its weights, whatever serves it."""
    band = band_of(artifact.bits).name
    limits = {
        name: limit
        for name, limit in thresholds.limits_for(artifact.id, artifact.scheme, band).items()
        if not (limit.source.is_shipped and name in _unasked(thresholds.edge))
    }
    if artifact.bits is None:
        return {name: _of_unknown(limit) for name, limit in limits.items()}
    return limits


def _unasked(edge: EdgeSettings) -> Iterator[str]:
    """Rows that the effort does not ask, so that no shipped limit holds and no error is shared."""
    if not edge.math_items:
        yield "edge.math"
    if not edge.batch_prompts:
        yield "edge.batch_invariance"


def applicable(
    limits: Mapping[str, Limit],
    artifact: Artifact,
    choice: Choice,
    reference_runtime: str | QGateError,
) -> dict[str, Limit]:
    """The limits of the rows that its runtime can measure, less shipped ones on a stand-in.

    Args:
        limits: of the artifact, from `limits_of`.
        artifact: for messages.
        choice: what serves it.
        reference_runtime: of what it is held against; where nothing serves that, its rows are
            errors anyway.

    Raises:
        ThresholdsError: a limit of the user's that the runtime cannot be held to, naming its line.
            A shipped one is for every runtime: it does not apply.
    """
    is_elsewhere = isinstance(reference_runtime, str) and reference_runtime != choice.name
    found = {}
    for check, limit in limits.items():
        # a team's own row is measured by its own test, whatever serves the artifact
        is_own = check not in CHECKS and area_of(check) != "accuracy"
        is_measured = is_own or area_of(check) not in choice.unmeasured
        is_shipped = limit.source.is_shipped
        if not (is_shipped or is_measured):
            raise ThresholdsError(
                f"{limit.source}: {check}: got a limit for {artifact.id}, which"
                f" {choice.name!r} serves; expected a runtime that measures"
                f" {area_of(check)}. Remove the limit, or name another runtime"
            )
        if is_measured and not (
            is_shipped and _is_not_representative(check, choice, is_elsewhere=is_elsewhere)
        ):
            found[check] = limit
    return found


def _of_unknown(limit: Limit) -> Limit:
    """The same limit, which says that the band is not by measured bits."""
    return replace(limit, band=f"{limit.band}, as its own are unknown") if limit.band else limit


def _is_not_representative(check: str, choice: Choice, *, is_elsewhere: bool) -> bool:
    is_of_serving = choice.is_stand_in and area_of(check) in _OF_SERVING
    return is_of_serving or (is_elsewhere and find_check(check).is_ratio_to_reference)
