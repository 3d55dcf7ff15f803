"""The noise floor that a run may use: measured of this original, in this version of its runtime."""

from __future__ import annotations

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import QGateError
from qgate.planning.noise import matching, read_noise
from qgate.runtimes import find_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.planning.noise import Noise
    from qgate.records import Artifact
    from qgate.runtimes.selection import Choice

FILE = Path(".qgate") / "noise.json"


def find_floor(
    directory: Path, original: Artifact | None, choose: Callable[[Artifact], Choice]
) -> Noise | None:
    """What `python -m qgate.calibrate` measured; None where nothing fits.

    Args:
        directory: where pytest was started.
        original: of the run.
        choose: the runtime of an artifact.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    found = read_noise(directory / FILE)
    if not found or original is None:
        return None
    with suppress(QGateError):  # a runtime that is absent is an error of its rows
        runtime = choose(original).name
        return matching(found, original.size_bytes, original.id, runtime, _installed(runtime) or "")
    return None


def describe(floor: Noise) -> str:
    """One line for a run's header."""
    said = f"noise floor of {floor.created[:10]}: {floor.original_id} in {floor.runtime_name}"
    flips = floor.all_flips
    told = f"{flips.flips} of {flips.items} answers flip" if flips else "no task tells anything"
    return f"qgate: {said} {floor.runtime_version}, run twice: {told}"


def _installed(runtime: str) -> str | None:
    """Its version, while nothing is started yet."""
    for package in find_spec(runtime).distributions:
        with suppress(PackageNotFoundError):
            return version(package)
    return None
