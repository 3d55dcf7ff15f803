"""The mean divergence by groups of tokens, below the rows of an artifact: with -v."""

from __future__ import annotations

import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.report.rows import Line
from qgate.report.text import escape_line, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping

_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "confidence": "mean KL by the original's probability of its first token",
        "slice": "mean KL by slice",
        "position": "mean KL by quarter of the window",
    }
)


def list_groups(artifact: dict[str, Any], width: int) -> list[Line]:
    """One short paragraph for each way to group tokens; nothing where none were compared."""
    lines: list[Line] = []
    for check in artifact["checks"]:
        groups = check["details"].get("kl_by") if check["name"] == "divergence.kl_mean" else None
        for key, title in _TITLES.items():
            if groups and groups.get(key):
                said = ", ".join(_describe(*one) for one in groups[key].items())
                text = escape_line(f"{title}: {said}")
                wrapped = textwrap.wrap(
                    text, max(width, 40), initial_indent="  ", subsequent_indent="    "
                )
                lines += [Line(line) for line in wrapped]
    return lines


def _describe(name: str, group: dict[str, Any]) -> str:
    return f"{name} {group['kl_mean_nats']:.3g} (n = {format_count(group['n'])})"
