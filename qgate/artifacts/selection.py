"""What a run is about: the artifacts that are gated, and the reference they are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.artifacts.discovery import beside, discover
from qgate.errors import UsageError
from qgate.untrusted.text import listed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgate.records import Artifact

_FIRST_CHOICE = ("F64", "FLOAT64", "F32", "FLOAT32", "BF16", "BFLOAT16", "F16", "FLOAT16")


def find_artifacts(
    paths: Sequence[Path], named_reference: Path | None, *, trusts_code: bool = False
) -> tuple[tuple[Artifact, ...], Artifact | None]:
    """What is gated, and the reference it is held against; header bytes only."""
    found = discover(paths, trusts_code=trusts_code)
    named = None
    if named_reference is not None:
        named = discover_reference(named_reference, trusts_code=trusts_code)
    reference = choose_reference(found, named) or choose_reference(
        beside(paths, trusts_code=trusts_code), None, gated=found
    )
    gated = tuple(a for a in found if reference is None or a.files != reference.files)
    if not gated:
        shown = ", ".join(str(path) for path in paths)
        raise UsageError(
            f"--qgate: {shown}: got only the reference ({reference.id if reference else ''});"
            " expected at least one artifact to hold against it"
        )
    return gated, reference


def discover_reference(path: Path, *, trusts_code: bool = False) -> Artifact:
    """The reference at a path that somebody named.

    Raises:
        UsageError: it cannot be used, or there are several artifacts.
    """
    (named, *others) = discover([path], trusts_code=trusts_code)
    if others or named.problem:
        raise UsageError(
            f"--qgate-reference: {path}: got"
            f" {named.problem or f'{len(others) + 1} artifacts'}; expected one reference"
        )
    return named


def choose_reference(
    artifacts: Sequence[Artifact], named: Artifact | None, gated: Sequence[Artifact] = ()
) -> Artifact | None:
    """The named one, else the most exact unquantized one in the format that comes first.

    Hugging Face comes first where anything quantized is of that format: a GGUF file of the same
    model was made from it. Where all that is quantized is GGUF, GGUF does.

    Args:
        artifacts: among which to choose.
        named: by the user.
        gated: what it will be held against, where that is not among `artifacts`.

    Raises:
        UsageError: several are equally good.
    """
    if named is not None:
        return named
    sound = [a for a in artifacts if not a.is_quantized and a.problem is None]
    formats = {a.format for a in (*artifacts, *gated) if a.is_quantized}
    first = "gguf" if formats == {"gguf"} else "hf"
    sound = [a for a in sound if a.format == first] or sound
    if not sound:
        return None
    best = min(map(_rank, sound))
    equal = [artifact for artifact in sound if _rank(artifact) == best]
    if len(equal) > 1:
        ids = listed([artifact.id for artifact in equal], most=10)
        raise UsageError(
            f"--qgate-reference: {len(equal)} artifacts could be the reference: {ids}. "
            "Name one with --qgate-reference PATH."
        )
    return equal[0]


def _rank(artifact: Artifact) -> int:
    """F32 holds every BF16 and F16 exactly; of those, BF16 is what models are trained in."""
    scheme = artifact.scheme.upper()
    return _FIRST_CHOICE.index(scheme) if scheme in _FIRST_CHOICE else len(_FIRST_CHOICE)
