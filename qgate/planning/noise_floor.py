"""What the reference, run against itself, differs by on this machine: a file, and what of it fits.

    {"schema_version": 1, "calibrations": [{"created": ..., "original": {...}, "runtime": {...},
      "thresholds": [...], "machine": {...}, "seconds": 0.0, "flips": [...], "all_flips": {...},
      "estimates": {"perplexity.ratio": {...}, ...}, "left_out": {...}}]}

One entry for each reference and runtime; `qgate calibrate` makes them. The dataclasses
below are the file: what cannot be read in full is refused, for half a noise floor is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping  # noqa: TC003 - read from the file by its type
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError, UsageError
from qgate.records import Estimate  # noqa: TC001 - read from the file by its type
from qgate.runtimes import find_spec
from qgate.untrusted.json import Fields, NotJson, strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from qgate.records import Artifact
    from qgate.runtimes.selection import Choice

FILE = Path(".qgate") / "noise.json"
SCHEMA_VERSION = 1
_REMEDY = ". Delete it, and measure again with qgate calibrate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """Items whose right or wrong differs between two runs of the same model."""

    check: str
    """The row: `accuracy.<task>` or `edge.math`; `all` for all of them together."""
    items: int
    flips: int
    upper: float
    """One-sided upper end of the rate at `level`: about 3 / items where none flipped."""
    level: float
    texts_differ: int
    """Answers whose text differs at all, right or wrong; of choices, another one chosen."""

    def __post_init__(self) -> None:
        counts = (self.flips, self.texts_differ)
        if self.items < 1 or not all(0 <= count <= self.items for count in counts):
            raise ValueError(f"got {counts} of {self.items} items; expected counts within them")
        if not (self.rate <= self.upper <= 1.0 and 0.0 < self.level < 1.0):
            raise ValueError(
                f"got an upper end of {self.upper} at level {self.level}; expected shares, and no"
                f" end below the rate of {self.rate}"
            )

    @property
    def rate(self) -> float:
        """Share of the items that flipped."""
        return self.flips / self.items


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The model that was run against itself."""

    id: str
    digest: str
    """`sha256:...` of its files."""
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What served it."""

    name: str
    version: str
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What one model in one runtime on one machine differs from itself by."""

    created: str
    """When, in UTC: `2026-01-31T12:00:00+00:00`."""
    original: Reference
    """The key of the file since its first version."""
    runtime: Runtime
    thresholds: tuple[Mapping[str, str], ...] = ()
    """`path` and `digest` of the thresholds files, in order of rising precedence."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """From `qgate.report.provenance`: JSON values."""
    seconds: float
    """What measuring took."""
    flips: tuple[Flips, ...]
    """By task, in the order of the run; empty where the reference knows none."""
    all_flips: Flips | None
    """Over all tasks; None where there is none."""
    estimates: Mapping[str, Estimate]
    """`perplexity.ratio`, `divergence.kl_mean`, `latency.ttft`, ...: second run over the first."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Rows that tell nothing about this model or runtime, and why."""

    def __post_init__(self) -> None:
        if datetime.fromisoformat(self.created).utcoffset() is None:
            raise ValueError(f"got a time without its zone: {self.created!r}; expected UTC")

    def flips_of(self, check: str) -> Flips | None:
        """Of one task's row; None where it was not measured."""
        return next((one for one in self.flips if one.check == check), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseFile:
    """The whole file."""

    schema_version: int = SCHEMA_VERSION
    calibrations: tuple[Noise, ...]

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError(f"schema_version: got {self.schema_version}; expected 1")

    def with_newest(self, newest: Noise) -> NoiseFile:
        """The same with one more, which replaces that of the same reference and runtime."""
        others = (one for one in self.calibrations if _key(one) != _key(newest))
        return NoiseFile(calibrations=(*others, newest))


def _key(noise: Noise) -> tuple[str, str]:
    return noise.original.digest, noise.runtime.name


def to_json(file: NoiseFile) -> dict[str, Any]:
    """What is written."""
    return dataclasses.asdict(file)


def read_noise(path: Path) -> NoiseFile:
    """Every entry of a file; none where there is no file.

    Raises:
        UsageError: not a file that qgate wrote, in one line.
    """
    try:
        value = strict_json(path.read_bytes())
    except FileNotFoundError:
        return NoiseFile(calibrations=())
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: got {error.strerror}; expected a file of noise floors."
        ) from error
    except NotJson as error:
        raise UsageError(f"{path}: {error}{_REMEDY}") from error
    fields = Fields(value, str(path), UsageError, _REMEDY)
    fields.get("schema_version", int)  # one without is no such file at all
    return fields.read(NoiseFile)


def find_floor(
    file: Path, reference: Artifact | None, choose: Callable[[Artifact], Choice]
) -> Noise | None:
    """What `qgate calibrate` measured; None where nothing fits.

    Args:
        file: where it is kept.
        reference: of the run.
        choose: the runtime of an artifact.

    Raises:
        UsageError: the file is there and cannot be read.
    """
    found = read_noise(file).calibrations
    if not found or reference is None:
        return None
    with suppress(QGateError):  # a runtime that is absent is an error of its rows
        runtime = choose(reference).name
        return matching(
            found, reference.size_bytes, reference.id, runtime, _installed(runtime) or ""
        )
    return None


def matching(
    noises: Iterable[Noise], size_bytes: int, reference_id: str, runtime: str, version: str
) -> Noise | None:
    """The newest that was measured of this reference in this very version of the runtime.

    Another version may order its sums in another way, and its noise is another. The reference is
    known by name and size, so that nobody has to read its files.
    """
    asked = (size_bytes, reference_id, runtime, version)
    found = [
        noise
        for noise in noises
        if asked
        == (
            noise.original.size_bytes,
            noise.original.id,
            noise.runtime.name,
            noise.runtime.version,
        )
    ]
    return max(found, key=lambda noise: datetime.fromisoformat(noise.created), default=None)


def describe(floor: Noise | None) -> tuple[str, ...]:
    """One line for a run's header; none without a floor."""
    if floor is None:
        return ()
    said = f"noise floor of {floor.created[:10]}: {floor.original.id} in {floor.runtime.name}"
    flips = floor.all_flips
    told = f"{flips.flips} of {flips.items} answers flip" if flips else "no task tells anything"
    return (f"qgate: {said} {floor.runtime.version}, run twice: {told}",)


def _installed(runtime: str) -> str | None:
    """Its version, while nothing is started yet."""
    for package in find_spec(runtime).distributions:
        with suppress(PackageNotFoundError):
            return version(package)
    return None
