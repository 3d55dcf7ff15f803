"""The vocabulary: what flows from discovery to the report, as frozen dataclasses.

    Artifact → (runtime) → Samples → Estimate → Verdict → Record → ArtifactReport → Report

Nothing here reads a file, knows pytest or needs a package. The JSON form (`to_json`) is public and
versioned; scripts outside the project rely on its field names.
"""

from __future__ import annotations

import dataclasses
import enum
import math
import warnings
from collections.abc import Mapping  # noqa: TC003 - fields are read by their types
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Bits:
    """What a model's weights take, by the headers of its files (`qgate.artifacts.bits`)."""

    effective: float
    """Bits a weight of one format with the same error as this mix; of the matrices in the blocks,
    without embedding and output matrix."""
    mean: float
    """Stored bits a weight of the same matrices, scales and zeros included."""
    embedding: float | None = None
    """Stored bits a weight of the token embedding."""
    output: float | None = None
    """Of the output matrix; None where it is the embedding."""
    group: int | None = None
    """How many weights share a scale; 0: a channel or more; None: several ways, or unknown."""
    activations: int = 16
    """Bits of the inputs that the matrices are multiplied with, by the configuration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A model on disk, as discovery sees it: header facts only, nothing loaded."""

    id: str
    """Short and unique within a run: the file's or directory's name without `.gguf`."""
    path: Path
    """The file a runtime is pointed at: the first shard, or the directory."""
    format: Literal["gguf", "hf"]
    scheme: str
    """Verbatim from the file: `Q4_K_M`, `awq`, ...; `unknown` where it says nothing."""
    size_bytes: int
    files: tuple[Path, ...]
    """Everything that its digest covers, in order."""
    is_quantized: bool
    context_length: int | None = None
    """The longest context the model was trained for, in tokens."""
    problem: str | None = None
    """Why it cannot be used, in one line; None where the header is sound."""
    quantize: Mapping[str, Any] | None = field(default=None, hash=False)
    """How its unquantized weights are quantized while they are loaded; None: not at all."""
    quantization: str = ""
    """In short words for people: `4 bit, group 128`; empty where the scheme says it all."""
    bits: Bits | None = None
    """What its weights take; None where the headers do not tell."""
    runs_code: bool = False
    """Whether it brings code of its own that the user allowed to be run when it is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its uncertainty. There is no way to make one of nothing or of NaN."""

    value: float
    low: float
    """Lower end of the two-sided interval at `level`, same unit as `value`."""
    high: float
    level: float
    """Coverage of the interval, e.g. 0.95."""
    n: int
    """How many samples it rests on (for token measures: scored tokens)."""
    unit: str
    method: str
    """The interval's name, e.g. `cluster-robust t (63 df)`."""
    p_value: float | None = None
    """One-sided p-value of "no damage", for paired answers and scores; what an alarm goes by."""
    test: Literal["exact McNemar", "sign-flip", "paired t", ""] = ""
    """Whose p-value it is; empty: unknown, or there is none."""
    look: tuple[int, int] | None = None
    """Which look of how many its interval belongs to; None: all samples were taken at once."""
    lower_bound: str = ""
    """Why no more is known than that the value is at least this, as a clause; empty where it is."""
    is_open: bool = False
    """Whether such a bound leaves so much open that no upper limit is held by it: `high` is the
    bound's own, and of the value nobody knows it."""

    def __post_init__(self) -> None:
        numbers = (self.value, self.low, self.high)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"estimate: got {numbers}; expected finite numbers")
        if not self.low <= self.value <= self.high:
            raise ValueError(f"estimate: got {numbers}; expected low <= value <= high")
        if self.n < 1:
            raise ValueError(f"estimate: got n = {self.n}; expected at least one sample")

    @classmethod
    def exact(cls, value: float, unit: str, *, level: float = 0.95) -> Estimate:
        """A number without uncertainty, such as the size of a file.

        Args:
            value: finite.
            unit: of the value, for the report.
            level: that the report shows.

        Raises:
            ValueError: the value is infinite or NaN.
        """
        return cls(value=value, low=value, high=value, level=level, n=1, unit=unit, method="exact")

    @classmethod
    def share(cls, passed: int, n: int, *, level: float = 0.95) -> Estimate:
        """A share of answers of which each is right or wrong: Wilson's score interval.

        Args:
            passed: how many are right.
            n: how many there are, at least 2, each drawn independently of the others.
            level: coverage of the interval.

        Raises:
            MeasurementError: fewer than 2, or more are right than there are.
        """
        return _of_samples("share_of", passed, n, level)

    @classmethod
    def paired(
        cls,
        artifact_values: Sequence[float],
        reference_values: Sequence[float],
        *,
        unit: str = "difference",
        more_is_worse: bool = False,
        level: float = 0.95,
    ) -> Estimate:
        """The mean difference artifact - reference of values of the same items.

        Args:
            artifact_values: one for each item: right or wrong, a score from 0 to 1, or any number.
            reference_values: of the same items in the same order.
            unit: `difference` of shares and scores; that of the values where they are other ones.
            more_is_worse: whether a limit is a `max`; `p_value` is that of damage to this side.
            level: coverage of the interval.

        Returns:
            Tango's interval where all values are 0 or 1, for scores and other values Student's t
            corrected for skewness; see `qgate.stats`. Other values have no `p_value`.

        Raises:
            MeasurementError: unpaired values, fewer than 2, a difference of no scores, or, of other
                values, so few that all differ by the same (6 at a level of 0.95).
        """
        return _of_samples("paired", artifact_values, reference_values, unit, more_is_worse, level)


def _of_samples(name: str, *arguments: Any) -> Estimate:  # noqa: ANN401 - those of the statistic
    """What a statistic makes of samples.

    `qgate.stats` is a layer above and imports the words of this module, so that it is named in a
    string, which `tests/test_architecture.py` does not see. `Estimate.share(...)` is public, and a
    team looks for it at the class; the import happens when it is called, and only then.
    """
    found: Estimate = getattr(import_module("qgate.stats.samples"), name)(*arguments)
    return found


@dataclass(frozen=True, slots=True)
class SourceLine:
    """A line in a thresholds file."""

    path: str
    line: int
    is_shipped: bool = False
    """Whether the file is qgate's own `default.yaml`, whose limits are for every model."""

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A bound on one check, and where somebody wrote it."""

    check: str
    rule: Literal["certify", "alarm", "auto"]
    """certify: the interval's far end must hold it. alarm: fails once damage is shown. auto: one of
    these, before anything is judged, by whoever knows the number of samples."""
    source: SourceLine
    min: float | None = None
    max: float | None = None
    level: float = 0.95
    parameters: Mapping[str, float] = field(default_factory=dict)
    """What else its row is measured with: `percentile`, `context`."""
    band: str = ""
    """Whom it is for, where it is for artifacts of so many bits: `4 bits`."""
    is_paired: bool = False
    """Whether its row compares shares or scores of both sides, item by item."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is known of a task before anybody answers."""

    check: str
    items: int
    flip_rate: float | None = None
    """Share of answers that change without damage; None: nobody said."""
    is_yes_or_no: bool = True
    """Whether an answer is right or wrong; of scores nothing can be said beforehand."""
    is_grouped: bool = False
    """Whether several items are about the same, and so tell less."""
    is_sequential: bool = False
    """Whether it is asked in parts, until its limit is decided."""


class Verdict(enum.Enum):
    """What a gate says of one row, of an artifact, or of a whole run.

    PASS, FAIL and INCONCLUSIVE are judged; ERROR (could not be measured), SKIPPED (no limit, or a
    precondition is absent) and INCOMPLETE (rows are missing) are accounts of what was not.
    """

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    ERROR = "error"
    SKIPPED = "skipped"
    INCOMPLETE = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One row of the report: a check on an artifact, with everything the verdict rests on."""

    name: str
    verdict: Verdict
    message: str
    """One line: what, observed, limit, n, where the limit is written, what to do next."""
    estimate: Estimate | None = None
    limit: Limit | None = None
    details: dict[str, Any] = field(default_factory=dict)
    """JSON values only: the worst samples, the method, what storing cost."""

    def to_json(self) -> dict[str, Any]:
        """The row as in the report: flat, absent numbers as null."""
        estimate, limit = self.estimate, self.limit
        return {
            "name": self.name,
            "verdict": self.verdict.value,
            "value": estimate and estimate.value,
            "low": estimate and estimate.low,
            "high": estimate and estimate.high,
            "level": estimate and estimate.level,
            "n": estimate and estimate.n,
            "unit": estimate and estimate.unit,
            "method": estimate and estimate.method,
            "p_value": estimate and estimate.p_value,
            "limit": limit and _limit_to_json(limit),
            "message": self.message,
            "details": self.details,
        }


def _limit_to_json(limit: Limit) -> dict[str, Any]:
    bounds = {"min": limit.min, "max": limit.max}
    return {
        **{name: bound for name, bound in bounds.items() if bound is not None},
        "rule": limit.rule,
        "level": limit.level,
        **({"parameters": dict(limit.parameters)} if limit.parameters else {}),
        "source": str(limit.source),
        **({"is_shipped": True} if limit.source.is_shipped else {}),
        **({"band": limit.band} if limit.band else {}),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeFacts:
    """What served the artifact, as the runtime itself tells it."""

    name: str
    version: str
    device: str
    build: str = ""
    """What else changes numbers: the library's commit, the CPU features it was compiled for."""
    kernel: str = ""
    """What multiplies the weight matrices; known once the artifact is loaded."""
    reason: str = ""
    """Why this runtime serves the artifact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactReport:
    """All rows of one artifact, and what identifies it."""

    id: str
    path: str = ""
    format: str = ""
    """`gguf` or `hf`."""
    scheme: str
    quantization: str = ""
    """As in `Artifact`."""
    bits: Bits | None = None
    size_bytes: int
    digest: str | None = None
    """`sha256:...` over the artifact's files; None where they could not be read."""
    runtime: RuntimeFacts | None = None
    compared_with: Mapping[str, str] = field(default_factory=dict)
    """`runtime`: what served the reference that the rows rest on; empty where none was needed."""
    verdict: Verdict
    measured: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent and numbers that are shown but not judged, by name with unit."""
    from_store: Mapping[str, Any] = field(default_factory=dict)
    """`likelihoods`, `answers`: requests that were `asked`, and how many of them were answered
    `from_store`; `measured_at`: when the oldest of those was measured, UTC."""
    records: tuple[Record, ...]

    @property
    def artifact(self) -> ArtifactReport:
        """Deprecated: the report itself, which has `id`, `scheme` and others; `path` is a text."""
        warnings.warn(
            "ArtifactReport.artifact is deprecated. Leave it out: report.artifacts[0].id",
            DeprecationWarning,
            stacklevel=2,
        )
        return self

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "path": self.path,
            "format": self.format,
            "scheme": self.scheme,
            "quantization": self.quantization,
            "bits": self.bits and dataclasses.asdict(self.bits),
            "size_bytes": self.size_bytes,
            "digest": self.digest,
            "runtime": self.runtime and dataclasses.asdict(self.runtime),
            "compared_with": dict(self.compared_with),
            "verdict": self.verdict.value,
            "measured": dict(self.measured),
            "from_store": dict(self.from_store),
            "checks": [record.to_json() for record in self.records],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One invocation: what `.qgate/report.json` holds."""

    verdict: Verdict
    environment: dict[str, Any]
    reference: dict[str, Any]
    """The reference: id, path, digest, text and store facts; empty where there was none."""
    artifacts: tuple[ArtifactReport, ...]
    thresholds: dict[str, Any] = field(default_factory=dict)
    """The files that applied, with their digests."""
    mlflow: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "verdict": self.verdict.value,
            "environment": self.environment,
            "reference": self.reference,
            "thresholds": self.thresholds,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "mlflow": self.mlflow,
        }
