"""What measuring the original against itself came to: kept in a file, found again by the gate.

    {"schema_version": 1, "calibrations": [{"created": ..., "original": {...}, "runtime": {...},
      "thresholds": [...], "machine": {...}, "seconds": 0.0, "flips": [...], "all_flips": {...},
      "estimates": {"perplexity.ratio": {...}, ...}, "left_out": {...}}]}

One entry for each original and runtime. `python -m qgate.calibrate` makes them. What cannot be read
in full is refused: half a noise floor is none.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping  # noqa: TC003 - fields are read by their types
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from qgate.errors import UsageError
from qgate.records import Estimate  # noqa: TC001 - as above
from qgate.untrusted.json import Fields, NotJson, strict_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SCHEMA_VERSION = 1


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
class Noise:
    """What one model in one runtime on one machine differs from itself."""

    created: str
    """When, in UTC: `2026-01-31T12:00:00+00:00`."""
    original_id: str
    original_digest: str
    """`sha256:...` of its files."""
    original_size_bytes: int
    runtime_name: str
    runtime_version: str
    runtime_device: str
    flips: tuple[Flips, ...]
    """By task, in the order of the run; empty where the original knows none."""
    all_flips: Flips | None
    """Over all tasks; None where there is none."""
    estimates: Mapping[str, Estimate]
    """`perplexity.ratio`, `divergence.kl_mean`, `latency.ttft`, ...: second run over the first."""
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Rows that tell nothing about this model or runtime, and why."""
    thresholds: tuple[Mapping[str, str], ...] = ()
    """`path` and `digest` of the thresholds files, in order of rising precedence."""
    machine: Mapping[str, Any] = field(default_factory=dict)
    """From `qgate.report.provenance`: JSON values."""
    seconds: float
    """What measuring took."""

    def __post_init__(self) -> None:
        if datetime.fromisoformat(self.created).utcoffset() is None:
            raise ValueError(f"got a time without its zone: {self.created!r}; expected UTC")

    @property
    def key(self) -> tuple[str, str]:
        """What a file has one entry of."""
        return self.original_digest, self.runtime_name

    def flips_of(self, check: str) -> Flips | None:
        """Of one task's row; None where it was not measured."""
        return next((one for one in self.flips if one.check == check), None)

    def to_json(self) -> dict[str, Any]:
        return {
            "created": self.created,
            "original": {
                "id": self.original_id,
                "digest": self.original_digest,
                "size_bytes": self.original_size_bytes,
            },
            "runtime": {
                "name": self.runtime_name,
                "version": self.runtime_version,
                "device": self.runtime_device,
            },
            "thresholds": [dict(file) for file in self.thresholds],
            "machine": dict(self.machine),
            "seconds": self.seconds,
            "flips": [dataclasses.asdict(one) for one in self.flips],
            "all_flips": None if self.all_flips is None else dataclasses.asdict(self.all_flips),
            "estimates": {
                name: dataclasses.asdict(found) for name, found in self.estimates.items()
            },
            "left_out": dict(self.left_out),
        }


def to_json(noises: Iterable[Noise]) -> dict[str, Any]:
    """The whole file."""
    calibrations = [noise.to_json() for noise in noises]
    return {"schema_version": SCHEMA_VERSION, "calibrations": calibrations}


def with_newest(noises: Iterable[Noise], newest: Noise) -> tuple[Noise, ...]:
    """The same with one more, which replaces that of the same original and runtime."""
    return (*(noise for noise in noises if noise.key != newest.key), newest)


def matching(
    noises: Iterable[Noise],
    original_size_bytes: int,
    original_id: str,
    runtime_name: str,
    runtime_version: str,
) -> Noise | None:
    """The newest that was measured of this original in this very version of the runtime.

    Another version may order its sums in another way, and its noise is another. The original is
    known by name and size, so that nobody has to read its files.
    """
    asked = (original_size_bytes, original_id, runtime_name, runtime_version)
    found = [
        noise
        for noise in noises
        if asked
        == (
            noise.original_size_bytes,
            noise.original_id,
            noise.runtime_name,
            noise.runtime_version,
        )
    ]
    return max(found, key=lambda noise: datetime.fromisoformat(noise.created), default=None)


def read_noise(path: Path) -> tuple[Noise, ...]:
    """Every entry of a file; none where there is no file.

    Raises:
        UsageError: not a file that qgate wrote, in one line.
    """
    remedy = ". Delete it, and measure again with python -m qgate.calibrate"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: got {error.strerror}; expected a file of noise floors."
        ) from error
    try:
        file = Fields(strict_json(raw), str(path), UsageError, remedy)
    except NotJson as error:
        raise UsageError(f"{path}: {error}{remedy}") from error
    version = file.get("schema_version", int)
    if version != SCHEMA_VERSION:
        raise file.error(f"schema_version: got {version}; expected {SCHEMA_VERSION}")
    return tuple(map(_read_noise, file.objects("calibrations")))


def _read_noise(entry: Fields) -> Noise:
    original, runtime = entry.inner("original"), entry.inner("runtime")
    return entry.read(
        Noise,
        original_id=original.get("id", str),
        original_digest=original.get("digest", str),
        original_size_bytes=original.get("size_bytes", int),
        runtime_name=runtime.get("name", str),
        runtime_version=runtime.get("version", str),
        runtime_device=runtime.get("device", str),
    )
