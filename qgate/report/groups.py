"""The mean divergence by groups of tokens, below the rows of an artifact: with -v."""

from __future__ import annotations

import textwrap
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.report.evidence import evidence_of
from qgate.report.rows import Line
from qgate.report.text import escape_line, format_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import ArtifactReport, Record
    from qgate.report.evidence import Group

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "confidence": "mean KL by the reference's probability of its first token",
        "slice": "mean KL by slice",
        "position": "mean KL by quarter of the window",
    }
)


def list_groups(artifact: ArtifactReport, width: int) -> list[Line]:
    """One short paragraph for each way to group tokens; nothing where none were compared."""
    return [line for record in artifact.records for line in groups_of(record, width)]


def groups_of(record: Record, width: int) -> list[Line]:
    """The same of one row; only `divergence.kl_mean` has groups."""
    lines: list[Line] = []
    found = evidence_of(record).kl_by
    for key, title in TITLES.items():
        if found.get(key):
            said = ", ".join(_describe(*one) for one in found[key].items())
            wrapped = textwrap.wrap(
                escape_line(f"{title}: {said}"),
                max(width, 40),
                initial_indent="  ",
                subsequent_indent="    ",
            )
            lines += [Line(line) for line in wrapped]
    return lines


def _describe(name: str, group: Group) -> str:
    return f"{name} {group.kl_mean_nats:.3g} (n = {format_count(group.n)})"
