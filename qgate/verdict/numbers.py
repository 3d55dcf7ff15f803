"""Numbers as people read them: the digits and the sign that each unit deserves."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_MORE_DECIMALS = 6
_BOUNDS: Mapping[str, tuple[float, str]] = MappingProxyType(
    {
        "fraction": (100, " %"),
        "difference": (100, " pp"),
        "bytes": (1, " B"),
        "perplexity": (1, ""),
        "ratio": (1, ""),
        "nats": (1, ""),
    }
)
"""What a bound is multiplied with, and what stands behind it."""


def format_value(value: float, unit: str, more_decimals: int = 0) -> str:
    """A number with the digits that its unit deserves; fractions become percent.

    Differences of fractions are percentage points, and bytes are what something grows by: both
    show their sign. `more_decimals` keeps numbers apart that would read alike.

    Examples:
        >>> format_value(1.0431, "ratio"), format_value(0.00243, "nats")
        ('1.043', '0.00243')
        >>> format_value(0.912, "fraction"), format_value(0.99994, "fraction")
        ('91.2 %', '99.99 %')
        >>> format_value(-0.008, "difference"), format_value(3.5 * 2**20, "bytes")
        ('-0.8 pp', '+3.5 MiB')
    """
    if unit == "fraction":
        return _format_fraction(value, more_decimals)
    if unit == "difference":
        return f"{_signed(value * 100, 1 + more_decimals)} pp"
    if unit == "bytes":
        return _format_growth(value, more_decimals)
    if unit == "ratio":
        return f"{value:.{3 + more_decimals}f}"
    if unit == "perplexity":
        fewest = 3 if abs(value) < 1000 else 0
        return f"{value:.{_decimals(value, significant=2, fewest=fewest) + more_decimals}f}"
    if unit == "nats":
        return f"{value:.{_decimals(value, significant=3, fewest=2) + more_decimals}f}"
    if unit == "ms":
        return f"{value:.{_decimals(value, significant=3, fewest=1) + more_decimals}f} ms"
    if unit == "GiB":
        return f"{value:.{_decimals(value, significant=3, fewest=2) + more_decimals}f} GiB"
    return f"{value:.{4 + more_decimals}g} {unit}"


def format_bound(bound: float, unit: str) -> str:
    """A bound as somebody wrote it: it is no measurement, and is not rounded like one.

    Examples:
        >>> format_bound(0.9, "fraction"), format_bound(200.0, "ms"), format_bound(1.05, "ratio")
        ('90 %', '200 ms', '1.05')
    """
    scale, suffix = _BOUNDS.get(unit, (1, f" {unit}" if unit else ""))
    digits = 12 if unit == "bytes" else 6
    return f"{bound * scale:.{digits}g}{suffix}"


def format_interval(value: str, low: str, high: str) -> str:
    """`[-2.1, +0.5]`: the unit is not said again where it is that of the value before it."""
    _, space, unit = value.partition(" ")
    suffix = space + unit
    if low.endswith(suffix) and high.endswith(suffix):
        low, high = low.removesuffix(suffix), high.removesuffix(suffix)
    return f"[{low}, {high}]"


def distinguishing_decimals(values: Sequence[float], bound: float, unit: str) -> int:
    """How many extra decimals keep these values and the bound from reading alike."""
    others = [value for value in values if value != bound]
    for more in range(_MOST_MORE_DECIMALS):
        shown = format_value(bound, unit, more)
        if all(format_value(value, unit, more) != shown for value in others):
            return more
    return _MOST_MORE_DECIMALS


def name_conditions(parameters: Mapping[str, float]) -> tuple[str, str]:
    """What a limit is set for beside its bound: what is said before the number, and after it.

    Examples:
        >>> name_conditions({"percentile": 95})
        ('p95 ', '')
        >>> name_conditions({"is_vram": 1.0, "context": 8192, "sequences": 4})
        ('', ' VRAM at 4 x 8192 tokens')
    """
    before = f"p{parameters['percentile']:g} " if "percentile" in parameters else ""
    after = ""
    if "is_vram" in parameters:
        after += " VRAM" if parameters["is_vram"] else " RAM"
    if "context" in parameters:
        sequences = parameters.get("sequences", 1)
        times = f"{sequences:.0f} x " if sequences > 1 else ""
        after += f" at {times}{parameters['context']:.0f} tokens"
    return before, after


def _format_fraction(value: float, more_decimals: int) -> str:
    percent = value * 100
    decimals = 1 + more_decimals
    while value < 1 and decimals < 1 + _MOST_MORE_DECIMALS and round(percent, decimals) >= 100:
        decimals += 1
    return f"{percent:.{decimals}f} %"


def _format_growth(size_bytes: float, more_decimals: int) -> str:
    for unit, scale in (("GiB", 2**30), ("MiB", 2**20)):
        if abs(size_bytes) >= scale:
            return f"{_signed(size_bytes / scale, 1 + more_decimals)} {unit}"
    return f"{_signed(size_bytes, more_decimals)} B"


def _signed(value: float, decimals: int) -> str:
    """Nothing has no sign, whichever side it was rounded from."""
    text = f"{value:+.{decimals}f}"
    return text if float(text) else text[1:]


def _decimals(value: float, significant: int, fewest: int) -> int:
    """Decimals that show so many significant digits; at most 6, where noise of runtimes begins."""
    if value == 0:
        return fewest
    return min(6, max(fewest, significant - 1 - math.floor(math.log10(abs(value)))))
