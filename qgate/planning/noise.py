"""What measuring the original against itself came to: kept in a file, found again by the gate.

    {"schema_version": 1, "calibrations": [{"created": ..., "original": {...}, "runtime": {...},
      "thresholds": [...], "machine": {...}, "seconds": 0.0, "flips": [...], "all_flips": {...},
      "estimates": {"perplexity.ratio": {...}, ...}, "left_out": {...}}]}

One entry for each original and runtime. `python -m qgate.calibrate` makes them. What cannot be read
in full is refused: half a noise floor is none.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from qgate.errors import UsageError
from qgate.records import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

Made = TypeVar("Made")
SCHEMA_VERSION = 1
_KINDS: Mapping[type, str] = MappingProxyType(
    {dict: "an object", list: "a list", str: "a text", int: "an integer", float: "a number"}
)


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
    remedy = "Delete it, and measure again with python -m qgate.calibrate"
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read: got {error.strerror}; expected a file of noise floors."
        ) from error
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{path}: is not JSON: got {error}; expected noise floors. {remedy}"
        ) from (error)
    try:
        return _read_file(value)
    except ValueError as error:
        raise UsageError(f"{path}: {error}. {remedy}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the number {name}")


def _read_file(value: object) -> tuple[Noise, ...]:
    file = _Object("the file", value)
    version = file.get("schema_version", int)
    if version != SCHEMA_VERSION:
        raise ValueError(f"schema_version: got {version}; expected {SCHEMA_VERSION}")
    entries = file.get("calibrations", list)
    return tuple(_read_noise(_Object(f"calibrations[{n}]", one)) for n, one in enumerate(entries))


def _read_noise(entry: _Object) -> Noise:
    original, runtime = entry.inner("original"), entry.inner("runtime")
    estimates, left_out = entry.inner("estimates"), entry.inner("left_out")
    flips = [_Object(f"{entry.where}.flips", one) for one in entry.get("flips", list)]
    files = [_Object(f"{entry.where}.thresholds", one) for one in entry.get("thresholds", list)]
    has_all = entry.get("all_flips", object) is not None
    return entry.make(
        Noise,
        created=entry.get("created", str),
        original_id=original.get("id", str),
        original_digest=original.get("digest", str),
        original_size_bytes=original.get("size_bytes", int),
        runtime_name=runtime.get("name", str),
        runtime_version=runtime.get("version", str),
        runtime_device=runtime.get("device", str),
        flips=tuple(_read_flips(one) for one in flips),
        all_flips=_read_flips(entry.inner("all_flips")) if has_all else None,
        estimates={name: _read_estimate(estimates.inner(name)) for name in estimates.value},
        left_out={name: left_out.get(name, str) for name in left_out.value},
        thresholds=tuple(
            {name: one.get(name, str) for name in ("path", "digest")} for one in files
        ),
        machine=entry.get("machine", dict),
        seconds=entry.get("seconds", float),
    )


def _read_flips(entry: _Object) -> Flips:
    counts = {name: entry.get(name, int) for name in ("items", "flips", "texts_differ")}
    shares = {name: entry.get(name, float) for name in ("upper", "level")}
    return entry.make(Flips, check=entry.get("check", str), **counts, **shares)


def _read_estimate(entry: _Object) -> Estimate:
    numbers = {name: entry.get(name, float) for name in ("value", "low", "high", "level")}
    texts = {name: entry.get(name, str) for name in ("unit", "method")}
    return entry.make(Estimate, n=entry.get("n", int), **numbers, **texts)


class _Object:
    """A JSON object that is read with suspicion: every error names its place."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: got {type(value).__name__}; expected an object")  # noqa: TRY004 - the file's fault, not the caller's
        self.where, self.value = where, value

    def get(self, name: str, kind: type) -> Any:  # noqa: ANN401 - of the kind that was asked for
        """A field of that kind; a whole number will do for a number."""
        if name not in self.value:
            raise ValueError(f"{self.where}: {name} is missing")
        found = self.value[name]
        if kind is object:
            return found
        kinds = (int, float) if kind is float else kind
        is_finite = not isinstance(found, float) or math.isfinite(found)
        if isinstance(found, bool) or not isinstance(found, kinds) or not is_finite:
            raise ValueError(f"{self.where}: {name}: got {found!r:.60}; expected {_KINDS[kind]}")
        return found

    def inner(self, name: str) -> _Object:
        return _Object(f"{self.where}.{name}", self.get(name, dict))

    def make(self, kind: Callable[..., Made], **fields: Any) -> Made:  # noqa: ANN401 - its fields
        """Build it; what its own rules refuse is named with the place."""
        try:
            return kind(**fields)
        except ValueError as error:
            raise ValueError(f"{self.where}: {error}") from None
