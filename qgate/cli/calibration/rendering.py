"""The noise floor as two short tables."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.checks import area_of
from qgate.cli.calibration.measuring import LATENCIES
from qgate.report.columns import Column, Entry, Table
from qgate.report.text import escape_line, format_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qgate.planning.noise_floor import Flips, Noise
    from qgate.records import Estimate

_WIDTH = 120
_DIGITS: Mapping[str, str] = MappingProxyType(
    {"perplexity": ".6f", "divergence": ".2g", "latency": ".4f"}
)


def render(noise: Noise) -> list[str]:
    """Lines for a terminal; nothing in them obeys or moves anything."""
    reference, runtime = noise.original, noise.runtime
    return [
        f"{escape_line(reference.id)}, {format_bytes(reference.size_bytes)}, against itself in"
        f" {escape_line(runtime.name)} {escape_line(runtime.version)} on"
        f" {escape_line(runtime.device)}, {noise.seconds:.0f} s",
        "",
        *_render_flips(noise),
        "",
        *_render_estimates(noise),
        *(
            f"  left out: {escape_line(_with_name(check, reason))}"
            for check, reason in noise.left_out.items()
        ),
    ]


def _render_flips(noise: Noise) -> list[str]:
    if noise.all_flips is None:
        return ["  flips: not measured, the reference knows none of the tasks"]
    level = f"at most ({noise.all_flips.level:.0%})"
    titles = ("right or wrong flips", "items", "flips", "rate", level, "texts differ")
    return _tabulate(titles, (_flips_cells(one) for one in (*noise.flips, noise.all_flips)))


def _flips_cells(flips: Flips) -> tuple[str, ...]:
    counts = (str(flips.items), str(flips.flips), f"{flips.rate:.2%}", f"{flips.upper:.2%}")
    return (escape_line(flips.check), *counts, str(flips.texts_differ))


def _render_estimates(noise: Noise) -> list[str]:
    level = next(iter(noise.estimates.values())).level
    titles = ("second run / first", "value", f"{level:.0%} interval", "n", "seen from")
    return _tabulate(titles, (_cells(*one) for one in noise.estimates.items()))


def _cells(check: str, found: Estimate) -> tuple[str, ...]:
    digits = _DIGITS[area_of(check)]
    value = f"{found.value:{digits}}{' nats' if found.unit == 'nats' else ''}"
    interval = f"[{found.low:{digits}}, {found.high:{digits}}]"
    seen = f"{visible_slowdown(found) - 1.0:.1%} slower" if check in LATENCIES else ""
    return (check, value, interval, str(found.n), seen)


def visible_slowdown(ratio: Estimate) -> float:
    """The end of an A/A ratio's interval that is furthest from 1, as a factor of at least 1.

    A true slowdown below it looks like no change at all; about that large one leaves the interval
    clear of 1 every other time.
    """
    return max(ratio.high, 1.0 / ratio.low)


def _tabulate(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The first column to the left, the others to the right."""
    columns = [Column(title=title, is_number=title != titles[0]) for title in titles]
    entries = [Entry(cells=dict(zip(titles, row, strict=True))) for row in rows]
    return [f"  {line.text}" for line in Table(columns=columns, entries=entries).lines(_WIDTH)]


def _with_name(check: str, reason: str) -> str:
    return reason if reason.startswith(check) else f"{check}: {reason}"
