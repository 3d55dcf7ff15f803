"""What a thresholds file says, once read: settings and layers of limits."""

from __future__ import annotations

import dataclasses
import fnmatch
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.checks import CHECKS, accuracy_check
from qgate.thresholds.bands import UNKNOWN
from qgate.thresholds.settings import (
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeOptions,
    RuntimeSettings,
    TextSettings,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from qgate.checks import Check
    from qgate.records import Limit, SourceLine


@dataclass(frozen=True, slots=True, kw_only=True)
class LmEvalTask:
    """A task of lm-evaluation-harness."""

    name: str
    """Its name there."""
    include_path: Path | None = None
    """A directory of task files of the user's own."""
    data: Path | None = None
    """A file in place of its dataset."""
    num_fewshot: int | None = None
    group: str | None = None
    """The field of its docs that says what several are about; None: each stands for itself."""
    chat_template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSettings:
    """Items that original and artifact answer; they make the row `accuracy.<name>`."""

    name: str
    file: Path | None = None
    """JSON lines; it was there when the thresholds were read. None: a task of lm-eval."""
    lm_eval: LmEvalTask | None = None
    """None where there is a file."""
    metric: str | None = None
    """When a generated answer is right, or how good it is; None: the default of the items."""
    choices: bool = False
    """Whether answers have to be chosen."""
    ignore_case: bool = False
    ignore_punctuation: bool = False
    max_samples: int | None = None
    """The size of the sample, at least 2; None: all items."""
    max_tokens: int | None = None
    """Longest generated answer; None: whoever asks decides."""
    code_execution: Literal["sandbox"] | None = None
    flip_rate: float | None = None
    """Share of answers that change without damage; None: nobody said."""
    min_reference: float | None = None
    """Least share of right answers of the original; None: so much above chance."""
    sequential: bool = True
    """Whether items are asked in parts, until the limit is decided."""
    source: SourceLine
    """Where somebody wrote it."""

    @property
    def check(self) -> Check:
        """Its row."""
        return accuracy_check(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdsFile:
    """A file that applied."""

    shown: str
    digest: str
    """`sha256:...` of its bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Limits that one place of one file sets for some artifacts."""

    scope: Literal["all", "band", "scheme", "artifact"]
    pattern: str = "*"
    """The name of a band, a scheme in casefolded form, or a glob over artifact ids."""
    limits: Mapping[str, Limit | None]
    """By check; None where the file says `off`."""

    def applies_to(self, artifact_id: str, scheme: str, band: str) -> bool:
        if self.scope == "band":
            return band == self.pattern
        if self.scope == "scheme":
            return scheme.casefold() == self.pattern
        return self.is_universal or fnmatch.fnmatchcase(artifact_id, self.pattern)

    @property
    def is_universal(self) -> bool:
        """True where no artifact can escape it."""
        return self.scope not in ("band", "scheme") and self.pattern == "*"


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """All files together: settings, and the limits for any artifact."""

    text: TextSettings = field(default_factory=TextSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)
    runtimes: Mapping[str, RuntimeOptions] = field(default_factory=dict)
    """By the runtime's name; empty where no file says anything."""
    tasks: tuple[TaskSettings, ...] = ()
    edge: EdgeSettings = field(default_factory=EdgeSettings)
    latency: LatencySettings = field(default_factory=LatencySettings)
    memory: MemorySettings = field(default_factory=MemorySettings)
    files: tuple[ThresholdsFile, ...] = ()
    """In order of rising precedence."""
    layers: tuple[Layer, ...] = ()
    """In order of rising precedence."""

    def limits_for(self, artifact_id: str, scheme: str, band: str = UNKNOWN) -> Mapping[str, Limit]:
        """The limits that apply to one artifact, in the order of `in_report_order`.

        An entry replaces an inherited one as a whole; `off` removes it. May be empty where layers
        name other artifacts only: such an artifact has no gate and must not read as a pass.
        """
        effective: dict[str, Limit | None] = {}
        for layer in self.layers:
            if layer.applies_to(artifact_id, scheme, band):
                effective.update(layer.limits)
        limits = {check: effective.get(check) for check in in_report_order(effective)}
        return MappingProxyType({check: limit for check, limit in limits.items() if limit})

    def with_python(self, runtime: str, python: Path) -> Thresholds:
        """The same, with an interpreter for a runtime for which no file names one."""
        known = self.runtimes.get(runtime, RuntimeOptions())
        if known.python is not None:
            return self
        options = dataclasses.replace(known, python=python)
        return dataclasses.replace(self, runtimes={**self.runtimes, runtime: options})

    def reachable(self) -> Iterator[Limit]:
        """The limits that an artifact could get; empty where no artifact whatever has one."""
        settled: set[str] = set()
        for layer in reversed(self.layers):
            for check, limit in layer.limits.items():
                if limit is not None and check not in settled:
                    yield limit
            if layer.is_universal:
                settled |= layer.limits.keys()


def in_report_order(names: Iterable[str]) -> tuple[str, ...]:
    """Every row of `CHECKS` in its order, and any others (those of tasks) before the edge cases."""
    known = tuple(CHECKS)
    first_edge = next(at for at, name in enumerate(known) if CHECKS[name].area == "edge")
    others = tuple(name for name in names if name not in CHECKS)
    return (*known[:first_edge], *others, *known[first_edge:])
