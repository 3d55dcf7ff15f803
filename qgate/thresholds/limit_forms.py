"""How a limit on a check is written: the key that sets its bound, and what else belongs to it.

    unit                     written                              holds
    difference (of shares)   max_drop: 0.02                       value >= -0.02
                             max_rise: 0.05                       value <= 0.05
    bytes                    max_bytes: 4096                      value <= 4096
    ms (of requests)         max_ms: 200, percentile: 95          95th percentile <= 200
    GiB (of a budget)        vram_gib: 24 (or ram_gib),           all of it together <= 24
                             context: 8192, sequences: 1
    all others               max: 1.05 or min: 0.9, as the check  value <= 1.05 or >= 0.9

A number whose sign or unit could be mistaken has them in its key. Which side is worse is known of
every check, so that a limit that could never fail is refused.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, create_model, model_validator

from qgate.records import Limit
from qgate.thresholds.fields import Unit
from qgate.thresholds.settings import Count, Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.checks import Check
    from qgate.records import SourceLine

_BOUNDS = ("max", "min", "max_drop", "max_rise", "max_bytes", "max_ms")
_BUDGETS = ("vram_gib", "ram_gib")
_BUDGETS_WITHOUT_UNIT = (
    *_BOUNDS, "max_gib", "max_gb", "budget", "budget_gib", "budget_gb", "memory", "memory_gib",
    "memory_gb", "vram", "vram_gb", "vram_mib", "vram_mb", "ram", "ram_gb", "ram_mib", "ram_mb",
    "gib", "gb",
)  # fmt: skip
_LEVEL = 0.95
_PERCENTILE_LEVEL = 0.98
"""Its upper end holds with 99 %: the confidence of MLPerf's early stopping."""
_RULES = (
    "certify (default): the far end of the interval must hold the limit. "
    "alarm: fails once damage is shown."
)
_Gib = Annotated[float | None, Unit("GiB")]


class TaskLimit(Section):
    """The limit on the row of a task."""

    max_drop: Annotated[float, Unit("difference")] = Field(
        ge=0.0,
        lt=1.0,
        description="Share of right answers, less the reference's on the same items. It may drop "
        "by at most this: 0.02 for 2 percentage points.",
    )
    rule: Literal["certify", "alarm", "auto"] = Field(
        default="certify",
        description=f"{_RULES} auto: certify where the items suffice to decide, else alarm.",
    )
    level: float = Field(default=_LEVEL, gt=0.5, lt=1.0, description="Coverage of the interval.")


class Budget(Section):
    """Arithmetic, not an interval: there is nothing to judge by a rule or a level."""

    vram_gib: _Gib = Field(default=None, gt=0.0, description="Memory of the GPU, GiB.")
    ram_gib: _Gib = Field(default=None, gt=0.0, description="Memory of the machine, GiB.")
    context: Count = Field(ge=1, description="Tokens of each sequence.")
    sequences: Count = Field(default=1, ge=1, description="Sequences that are served at once.")

    @model_validator(mode="after")
    def _one(self) -> Budget:
        if self.vram_gib is None and self.ram_gib is None:
            raise ValueError("no bound; expected vram_gib or ram_gib.")
        if self.vram_gib is not None and self.ram_gib is not None:
            raise ValueError("got vram_gib and ram_gib; expected one of them.")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitForm:
    """How the limits on one check are written."""

    check: Check
    model: type[Section]
    bounds: tuple[str, ...]
    """Exactly one of these is written."""
    near_misses: Mapping[str, str]
    """Keys that read like a bound and are none here: what to say of each."""

    @property
    def example(self) -> str:
        needed = (name for name, field in self.model.model_fields.items() if field.is_required())
        shortest = dict.fromkeys((self.bounds[0], *needed))
        return "{" + ", ".join(f"{key}: ..." for key in shortest) + "}"

    def limit(self, written: Section, source: SourceLine) -> Limit:
        """The limit that somebody wrote on this line."""
        values = {key: getattr(written, key) for key in type(written).model_fields}
        key = next(key for key in self.bounds if values[key] is not None)
        # not -value: a limit of -0.0 would be shown as one
        bound = 0.0 - values[key] if key == "max_drop" else values[key]
        parameters: dict[str, float] = {
            name: values[name] for name in ("percentile", "context") if name in values
        }
        if self.model is Budget:
            parameters["is_vram"] = float(key == "vram_gib")
            parameters["sequences"] = values["sequences"]
        return Limit(
            check=self.check.name,
            rule=values.get("rule", "certify"),
            source=source,
            level=values.get("level", _LEVEL),
            parameters=parameters,
            is_paired=self.check.is_paired,
            **{self.check.bound: bound},
        )


@functools.cache
def limit_form(check: Check) -> LimitForm:
    """What may be written for a limit on this check."""
    if check.conditions == "budget":
        instead = "vram_gib or ram_gib. Write vram_gib: 24 or ram_gib: 24, in GiB"
        near_misses = {key: f"got {key}; expected {instead}." for key in _BUDGETS_WITHOUT_UNIT}
        return LimitForm(check=check, model=Budget, bounds=_BUDGETS, near_misses=near_misses)
    key, bounds, what, instead = _bound(check)
    near_misses = {other: f"got {other}; expected {instead}." for other in _BOUNDS if other != key}
    unit = Field(default=check.unit, description="For readers; must be the check's unit.")
    of_unit: dict[str, Any] = {"unit": (Literal[check.unit], unit)}
    if check.area == "accuracy" and key == "max_drop":
        of_task: type[Section] = create_model(check.name, __base__=TaskLimit, **of_unit)
        return LimitForm(check=check, model=of_task, bounds=(key,), near_misses=near_misses)
    fields: dict[str, Any] = {
        key: (
            Annotated[float, Unit(check.unit)],
            Field(description=f"{check.claim} {what}", **bounds),
        )
    }
    level = _LEVEL
    if check.conditions == "percentile":
        level = _PERCENTILE_LEVEL
        help_ = "Which percentile of requests is held, e.g. 95; latency.pairs must suffice."
        fields["percentile"] = (float, Field(ge=50, le=99.9, description=help_))
    coverage = Field(default=level, gt=0.5, lt=1.0, description="Coverage of the interval.")
    fields["rule"] = (Literal["certify", "alarm"], Field(default="certify", description=_RULES))
    fields["level"] = (float, coverage)
    model = create_model(check.name, __base__=Section, **fields, **of_unit)
    return LimitForm(check=check, model=model, bounds=(key,), near_misses=near_misses)


def _bound(check: Check) -> tuple[str, dict[str, Any], str, str]:
    """The key of the bound, its range, its help, and what to write in place of another."""
    if check.unit == "difference":
        verb = "rise" if check.bound == "max" else "drop"
        key = f"max_{verb}"
        return (
            key,
            {"ge": 0.0, "lt": 1.0},
            f"It may {verb} by at most this: 0.02 for 2 percentage points.",
            f"{key}, without a sign. Write {key}: 0.02 where it may {verb} by 2 percentage points",
        )
    key, best, range_ = check.bound, check.at_best, {}
    if check.unit in ("bytes", "ms") and check.bound == "max":
        key = f"max_{check.unit}"
    is_positive = key not in ("max", "min") or check.unit in ("ratio", "fraction")
    if best is not None:
        range_ = {"ge" if check.bound == "max" else "le": best}
    if is_positive and "ge" not in range_:
        range_["gt"] = 0.0
    worse, most = ("more", "most") if check.bound == "max" else ("less", "least")
    return key, range_, f"At {most} this ({check.unit}).", f"{key}: {worse} is worse"
