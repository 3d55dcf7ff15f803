"""The rows of one artifact as lines of a terminal: what each cell says, and how wide it may be."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.checks import find_check
from qgate.records import Verdict
from qgate.report.evidence import evidence_of
from qgate.report.text import count_cells, cut_middle, escape_line, pad
from qgate.verdict import (
    distinguishing_decimals,
    format_bound,
    format_interval,
    format_value,
    name_conditions,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import ArtifactReport, Estimate, Record

Style = Literal["plain", "bold", "green", "red", "yellow"]

STYLES: Mapping[Verdict, Style] = MappingProxyType(
    {
        Verdict.PASS: "green",
        Verdict.FAIL: "red",
        Verdict.ERROR: "red",
        Verdict.INCONCLUSIVE: "yellow",
        Verdict.INCOMPLETE: "yellow",
        Verdict.SKIPPED: "plain",
    }
)
GAP = "  "
ALARM = "~"
"""Behind the limit of a row that is an alarm."""
ABSENT = "\N{EN DASH}"
"""In the place of a number that there is not."""
SHORTEST_NAME = 16
"""What a cut id or name keeps at least, in columns."""
_SHORTEST_MEMBER = 12
_FOLDED = (Verdict.PASS, Verdict.INCOMPLETE)
"""Verdicts that a line can say of several rows at once: of the others each has a reason."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text and how to paint it; the text alone says everything."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the checklist, as text."""

    name: str
    member: str = ""
    """The one that tells, of a row that judges several."""
    value: str = ""
    interval: str = ""
    limit: str = ""
    verdict: Verdict

    @property
    def word(self) -> str:
        """The verdict; in capitals where somebody has to look."""
        is_fine = self.verdict in (Verdict.PASS, Verdict.SKIPPED)
        return self.verdict.value if is_fine else self.verdict.value.upper()

    @property
    def full_name(self) -> str:
        return f"{self.name} ({self.member})" if self.member else self.name

    def name_in(self, room: int) -> str:
        """The name in so many columns; a member is cut first, and left out where little is left."""
        own = room - count_cells(self.name) - len(" ()")
        if self.member and own >= min(_SHORTEST_MEMBER, count_cells(self.member)):
            return f"{self.name} ({cut_middle(self.member, own)})"
        return cut_middle(self.name, room)

    def estimate(self, room: int) -> str:
        """Value and interval, or the value alone where both do not fit."""
        both = f"{self.value} {self.interval}".rstrip()
        return both if len(both) <= room else self.value


def make_rows(artifact: ArtifactReport) -> list[Row]:
    return [make_row(record) for record in artifact.records]


def name_scheme(scheme: str, words: str) -> str:
    """`gptq (4 bit, group 128)`; the scheme alone where its files say no more."""
    scheme = escape_line(scheme)
    return f"{scheme} ({escape_line(words)})" if words else scheme


def fold(rows: Sequence[Row]) -> list[Row]:
    """An area's rows without a number are one line where all hold, or none was run.

    It stands behind those with a number.
    """
    folded: list[Row] = []
    for area, group in itertools.groupby(rows, key=lambda row: row.name.partition(".")[0]):
        members = list(group)
        silent = [row for row in members if not row.value]
        for verdict in _FOLDED:
            if len(silent) > 1 and all(row.verdict is verdict for row in silent):
                members = [row for row in members if row.value]
                more = " more" if members else ""
                members.append(Row(name=f"{area}.* ({len(silent)}{more} rows)", verdict=verdict))
        folded += members
    return folded


def unit_of(check: str) -> str:
    """The unit of a row that may not have been measured; empty for a team's own."""
    return find_check(check).unit


def make_row(record: Record) -> Row:
    found = record.estimate
    value, interval = _format_estimate(found, record) if found else ("", "")
    return Row(
        name=escape_line(record.name),
        member=escape_line(evidence_of(record).member),
        value=escape_line(value),
        interval=escape_line(interval),
        limit=escape_line(_format_limit(record)),
        verdict=record.verdict,
    )


def _format_estimate(found: Estimate, record: Record) -> tuple[str, str]:
    """Value and interval; an exact number has none."""
    ends = (found.value, found.low, found.high)
    bounds = [bound for _, bound in _bounds(record)]
    more = max((distinguishing_decimals(ends, bound, found.unit) for bound in bounds), default=0)
    value, low, high = (format_value(end, found.unit, more) for end in ends)
    is_exact = found.method == "exact" and found.low == found.high
    return value, "" if is_exact else format_interval(value, low, high)


def _format_limit(record: Record) -> str:
    if record.limit is None:
        return ""
    unit = (record.estimate and record.estimate.unit) or unit_of(record.name)
    before, _ = name_conditions(record.limit.parameters)
    shown = [f"{sign} {format_bound(bound, unit)}" for sign, bound in _bounds(record)]
    return before + " ".join([*shown, ALARM] if is_alarm(record) else shown)


def is_alarm(record: Record) -> bool:
    """Whether a row fails by damage that is shown, and not by doubt."""
    return record.limit is not None and record.limit.rule == "alarm"


def _bounds(record: Record) -> list[tuple[str, float]]:
    limit = record.limit
    named = ((">=", limit.min), ("<=", limit.max)) if limit else ()
    return [(sign, bound) for sign, bound in named if bound is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Widths that all artifacts of a table share."""

    name: int
    value: int
    limit: int

    @classmethod
    def fit(cls, rows: Sequence[Row], width: int) -> Columns:
        """Choose the widths: members go first, then long intervals, then names' middles."""
        name = max((count_cells(row.name) for row in rows), default=0)
        limit = max((len(row.limit) for row in rows), default=0)
        verdict = max((len(row.word) for row in rows), default=0)
        fixed = limit + verdict + 4 * len(GAP)
        room = max(width - name - fixed, 0)
        value = max((len(row.estimate(room)) for row in rows), default=0)
        longest = max((count_cells(row.full_name) for row in rows), default=0)
        name = max(name, min(longest, width - value - fixed))
        # air, where there is room for it
        air = max(0, min(4, (width - name - value - fixed) // 3))
        name = max(SHORTEST_NAME, min(name, width - value - fixed))
        return cls(name=name + air, value=value + air, limit=limit + air)

    def render(self, row: Row) -> Line:
        # a row without a number lends its room to the name
        room = self.name + len(GAP) + self.value
        name = row.name_in(self.name if row.value else room)
        number = GAP + row.estimate(self.value) if row.value else ""
        cells = (pad(pad(name, self.name) + number, room), pad(row.limit, self.limit), row.word)
        return Line((GAP + GAP.join(cells)).rstrip(), STYLES[row.verdict])
