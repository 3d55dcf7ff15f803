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

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.records import Limit
from qgate.thresholds.values import LARGEST_WHOLE, Leaf, Number, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.checks import Check
    from qgate.records import SourceLine

_BOUNDS = ("max", "min", "max_drop", "max_rise", "max_bytes", "max_ms")
_BUDGETS_WITHOUT_UNIT = (
    *_BOUNDS, "max_gib", "max_gb", "budget", "budget_gib", "budget_gb", "memory", "memory_gib",
    "memory_gb", "vram", "vram_gb", "vram_mib", "vram_mb", "ram", "ram_gb", "ram_mib", "ram_mb",
    "gib", "gb",
)  # fmt: skip
_LEVEL = 0.95
_PERCENTILE_LEVEL = 0.98
"""Its upper end holds with 99 %: the confidence of MLPerf's early stopping."""

CERTIFY_OR_ALARM = Word(
    help="certify (default): the far end of the interval must hold the limit. "
    "alarm: fails once damage is shown.",
    choices=("certify", "alarm"),
)

RULES_OF_TASKS = Word(
    help=f"{CERTIFY_OR_ALARM.help} auto: certify where the items suffice to decide, else alarm.",
    choices=("certify", "alarm", "auto"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitForm:
    """The keys of one limit."""

    bounds: Mapping[str, Number]
    """Exactly one of these is written."""
    required: Mapping[str, Number]
    """Parameters that must be written with it."""
    optional: Mapping[str, Leaf]
    misnomers: tuple[str, ...]
    """Keys that read like a bound and are none here."""
    instead: str
    """What to write in place of a misnomer."""
    level: float = _LEVEL
    """Where none is written."""

    @property
    def keys(self) -> Mapping[str, Leaf]:
        return {**self.bounds, **self.required, **self.optional}

    @property
    def example(self) -> str:
        shortest = (next(iter(self.bounds)), *self.required)
        return "{" + ", ".join(f"{key}: ..." for key in shortest) + "}"

    def limit(self, check: Check, values: Mapping[str, Any], source: SourceLine) -> Limit:
        """The limit that these values say, of which one is a bound."""
        key = next(key for key in self.bounds if key in values)
        # not -value: a limit of -0.0 would be shown as one
        bound = 0.0 - values[key] if key == "max_drop" else values[key]
        parameters = {name: values[name] for name in self.required}
        if check.conditions == "budget":
            parameters["is_vram"] = float(key == "vram_gib")
            parameters["sequences"] = values.get("sequences", 1)
        return Limit(
            check=check.name,
            rule=values.get("rule", "certify"),
            source=source,
            level=values.get("level", self.level),
            parameters=parameters,
            is_paired=check.is_paired,
            **{check.bound: bound},
        )


def limit_form(check: Check) -> LimitForm:
    """What may be written for a limit on this check."""
    if check.conditions == "budget":
        return _budget(check)
    if check.unit == "difference":
        return _difference(check)
    if check.unit in ("bytes", "ms") and check.bound == "max":
        return _with_unit(check)
    return _plain(check)


def limit_keys(check: Check) -> Mapping[str, Leaf]:
    """Every key of a limit on this check: its own side, its parameters, how it is judged."""
    return limit_form(check).keys


def _plain(check: Check) -> LimitForm:
    best, is_positive = check.at_best, check.unit in ("ratio", "fraction")
    if check.bound == "max":
        bound = Number(
            help=f"{check.claim} At most this ({check.unit}).",
            at_least=best,
            above=0.0 if best is None and is_positive else None,
            unit=check.unit,
        )
    else:
        bound = Number(
            help=f"{check.claim} At least this ({check.unit}).",
            above=0.0 if is_positive else None,
            at_most=best,
            unit=check.unit,
        )
    worse = "more" if check.bound == "max" else "less"
    return _judged(check, check.bound, bound, instead=f"{check.bound}: {worse} is worse")


def _difference(check: Check) -> LimitForm:
    verb = "rise" if check.bound == "max" else "drop"
    key = f"max_{verb}"
    bound = Number(
        help=f"{check.claim} It may {verb} by at most this: 0.02 for 2 percentage points.",
        at_least=0.0,
        below=1.0,
        unit=check.unit,
    )
    instead = f"{key}, without a sign. Write {key}: 0.02 where it may {verb} by 2 percentage points"
    rule = RULES_OF_TASKS if check.area == "accuracy" else CERTIFY_OR_ALARM
    return _judged(check, key, bound, instead=instead, rule=rule)


def _with_unit(check: Check) -> LimitForm:
    key = f"max_{check.unit}"
    can_be_zero = check.at_best is not None
    bound = Number(
        help=f"{check.claim} At most this ({check.unit}).",
        at_least=check.at_best,
        above=None if can_be_zero else 0.0,
        unit=check.unit,
    )
    instead = f"{key}: more is worse"
    if check.conditions != "percentile":
        return _judged(check, key, bound, instead=instead)
    percentile = Number(
        help="Which percentile of requests is held, e.g. 95; latency.pairs must suffice.",
        at_least=50,
        at_most=99.9,
    )
    return _judged(
        check,
        key,
        bound,
        instead=instead,
        required={"percentile": percentile},
        level=_PERCENTILE_LEVEL,
    )


def _judged(
    check: Check,
    key: str,
    bound: Number,
    *,
    instead: str,
    required: Mapping[str, Number] = MappingProxyType({}),
    level: float = _LEVEL,
    rule: Word = CERTIFY_OR_ALARM,
) -> LimitForm:
    """A limit that an interval is held against."""
    coverage = f"Coverage of the interval, {level:g} if absent."
    return LimitForm(
        bounds={key: bound},
        required=required,
        optional={
            "rule": rule,
            "level": Number(help=coverage, above=0.5, below=1.0),
            "unit": Word(help="For readers; must be the check's unit.", choices=(check.unit,)),
        },
        misnomers=tuple(other for other in _BOUNDS if other != key),
        instead=instead,
        level=level,
    )


def _budget(check: Check) -> LimitForm:
    """Arithmetic, not an interval: there is nothing to judge by a rule or a level."""
    budgets = {
        f"{kind}_gib": Number(help=f"{check.claim} {where}, GiB.", above=0.0, unit=check.unit)
        for kind, where in (("vram", "Memory of the GPU"), ("ram", "Memory of the machine"))
    }
    tokens = Number(help="Tokens of each sequence.", whole=True, at_least=1, at_most=LARGEST_WHOLE)
    sequences = Number(
        help="Sequences that are served at once; 1 if absent.",
        whole=True,
        at_least=1,
        at_most=LARGEST_WHOLE,
    )
    return LimitForm(
        bounds=budgets,
        required={"context": tokens},
        optional={"sequences": sequences},
        misnomers=_BUDGETS_WITHOUT_UNIT,
        instead="vram_gib or ram_gib. Write vram_gib: 24 or ram_gib: 24, in GiB",
    )
