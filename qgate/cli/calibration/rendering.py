"""The noise floor as a short table."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.checks import area_of
from qgate.cli.calibration.estimating import LATENCIES, visible_slowdown
from qgate.report.text import count_cells, escape_line, format_bytes, pad

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.planning.noise_floor import Flips, Noise

_GAP = "  "
_DIGITS: Mapping[str, str] = MappingProxyType(
    {"perplexity": ".6f", "divergence": ".2g", "latency": ".4f"}
)


def render(noise: Noise) -> list[str]:
    """Lines for a terminal; nothing in them obeys or moves anything."""
    return [
        f"{escape_line(noise.original.id)}, {format_bytes(noise.original.size_bytes)}, against"
        f" itself in {escape_line(noise.runtime.name)} {escape_line(noise.runtime.version)}"
        f" on {escape_line(noise.runtime.device)}, {noise.seconds:.0f} s",
        "",
        *_render_flips(noise),
        "",
        *_render_estimates(noise),
        *(
            f"{_GAP}left out: {escape_line(_with_name(check, reason))}"
            for check, reason in noise.left_out.items()
        ),
    ]


def _render_flips(noise: Noise) -> list[str]:
    if noise.all_flips is None:
        return [f"{_GAP}flips: not measured, the original knows none of the tasks"]
    every = [*noise.flips, noise.all_flips]
    level = f"at most ({noise.all_flips.level:.0%})"
    head = ("right or wrong flips", "items", "flips", "rate", level, "texts differ")
    return _align([head, *(_flips_row(flips) for flips in every)])


def _flips_row(flips: Flips) -> tuple[str, ...]:
    return (
        escape_line(flips.check),
        str(flips.items),
        str(flips.flips),
        f"{flips.rate:.2%}",
        f"{flips.upper:.2%}",
        str(flips.texts_differ),
    )


def _render_estimates(noise: Noise) -> list[str]:
    level = next(iter(noise.estimates.values())).level
    rows = [("second run / first", "value", f"{level:.0%} interval", "n", "seen from")]
    for check, found in noise.estimates.items():
        digits = _DIGITS[area_of(check)]
        seen = f"{visible_slowdown(found) - 1.0:.1%} slower" if check in LATENCIES else ""
        unit = " nats" if found.unit == "nats" else ""
        rows.append(
            (
                check,
                f"{found.value:{digits}}{unit}",
                f"[{found.low:{digits}}, {found.high:{digits}}]",
                str(found.n),
                seen,
            )
        )
    return _align(rows)


def _align(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Columns: the first to the left, the others to the right."""
    widths = [max(map(count_cells, column)) for column in zip(*rows, strict=True)]
    return [
        _GAP
        + _GAP.join(
            [
                pad(row[0], widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
        ).rstrip()
        for row in rows
    ]


def _with_name(check: str, reason: str) -> str:
    return reason if reason.startswith(check) else f"{check}: {reason}"
