"""What a run is about: the artifacts that are gated, and the original they are held against."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate import errors
from qgate.artifacts import beside, choose_reference, discover

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgate.records import Artifact


def find_artifacts(
    paths: Sequence[Path], named_reference: Path | None, *, trusts_code: bool = False
) -> tuple[tuple[Artifact, ...], Artifact | None]:
    """What is gated, and the original it is held against; header bytes only."""
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
        raise errors.UsageError(
            f"--qgate: {shown}: got only the original ({reference.id if reference else ''});"
            " expected at least one artifact to hold against it"
        )
    return gated, reference


def discover_reference(path: Path, *, trusts_code: bool = False) -> Artifact:
    """The original at a path that somebody named.

    Raises:
        UsageError: it cannot be used, or there are several artifacts.
    """
    (named, *others) = discover([path], trusts_code=trusts_code)
    if others or named.problem:
        raise errors.UsageError(
            f"--qgate-reference: {path}: got"
            f" {named.problem or f'{len(others) + 1} artifacts'}; expected one original"
        )
    return named
