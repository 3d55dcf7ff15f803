"""Which artifact is the original that the others are held against?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.artifacts.escape import listed
from qgate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.records import Artifact

_FIRST_CHOICE = ("F64", "F32", "FLOAT32", "BF16", "BFLOAT16", "F16", "FLOAT16")


def choose_reference(artifacts: Sequence[Artifact], named: Artifact | None) -> Artifact | None:
    """The named one, else the most exact unquantized one in the format of the quantized ones.

    Raises:
        UsageError: several are equally good.
    """
    if named is not None:
        return named
    formats = {artifact.format for artifact in artifacts if artifact.is_quantized}
    sound = [
        artifact
        for artifact in artifacts
        if not artifact.is_quantized
        and artifact.problem is None
        and (artifact.format in formats or not formats)
    ]
    if not sound:
        return None
    best = min(map(_rank, sound))
    equal = [artifact for artifact in sound if _rank(artifact) == best]
    if len(equal) > 1:
        ids = listed([artifact.id for artifact in equal], most=10)
        raise UsageError(
            f"--qgate-reference: {len(equal)} artifacts could be the original: {ids}. "
            "Name one with --qgate-reference PATH."
        )
    return equal[0]


def _rank(artifact: Artifact) -> int:
    """F32 holds every BF16 and F16 exactly; of those, BF16 is what models are trained in."""
    scheme = artifact.scheme.upper()
    return _FIRST_CHOICE.index(scheme) if scheme in _FIRST_CHOICE else len(_FIRST_CHOICE)
