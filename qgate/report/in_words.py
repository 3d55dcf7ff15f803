"""Rows of a report in words: what a row claims, what was observed, and where the damage is."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from qgate.checks import CHECKS, accuracy_check, area_of
from qgate.records import Verdict
from qgate.report.columns import Column, Entry, Table
from qgate.report.evidence import evidence_of
from qgate.report.groups import TITLES
from qgate.report.rows import GAP, STYLES, Line
from qgate.report.table import render_header
from qgate.report.text import cut_middle, escape_line, format_count
from qgate.report.worst_samples import show_worst
from qgate.verdict import format_interval, format_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from qgate.records import ArtifactReport, Record
    from qgate.report.evidence import Evidence

_MOST_WINDOWS = 5
_LEAST_WIDTH = 40


def artifact_in_words(artifact: ArtifactReport, width: int) -> Iterator[Line]:
    """All rows of an artifact, two or three lines each."""
    yield render_header(artifact, width)
    if artifact.digest:
        yield from _wrap(f"{artifact.path}, {artifact.digest}", width)
    for record in artifact.records:
        yield Line("")
        yield _headline(record.name, record.verdict, width)
        yield from _describe(record, width)
    where = [one.name for one in artifact.records if one.verdict is Verdict.FAIL and one.estimate]
    if where:
        yield Line("")
        name = escape_line(artifact.id)
        yield Line(f"Where the damage is: qgate show {escape_line(where[0])} {shlex.quote(name)}")


def row_in_words(
    name: str, rows: Sequence[tuple[ArtifactReport, Record]], width: int
) -> Iterator[Line]:
    """One row of several artifacts, each with where its damage is."""
    yield Line(escape_line(name), "bold")
    yield from _wrap(_claim(name), width)
    for artifact, record in rows:
        yield Line("")
        yield _headline(artifact.id, record.verdict, width)
        yield from _describe(record, width, with_claim=False)
        yield from _locate(record, width)


def _headline(name: str, verdict: Verdict, width: int) -> Line:
    room = width - len(verdict.value) - len(GAP)
    return Line(
        f"{cut_middle(escape_line(name), room)}{GAP}{verdict.value.upper()}", STYLES[verdict]
    )


def _describe(record: Record, width: int, *, with_claim: bool = True) -> Iterator[Line]:
    if with_claim:
        yield from _wrap(_claim(record.name), width)
    message = record.message.removeprefix("inconclusive: ").removeprefix(record.name)
    yield from _wrap(message.removeprefix(":").strip(), width)
    if seen := evidence_of(record).would_have_seen:
        yield from _wrap(f"It would have seen {seen} (4 times in 5).", width)


def _claim(name: str) -> str:
    """What a PASS of the row says; empty of rows without a number and of a team's own."""
    if name in CHECKS:
        return CHECKS[name].claim
    return accuracy_check(name.partition(".")[2]).claim if area_of(name) == "accuracy" else ""


def _locate(record: Record, width: int) -> Iterator[Line]:
    """Where the damage is, as far as the row knows it."""
    evidence = evidence_of(record)
    yield from _list_members(record, evidence, width)
    for key, groups in evidence.kl_by.items():
        cells = [
            {"group": name, "mean KL": f"{one.kl_mean_nats:.3g}", "tokens": format_count(one.n)}
            for name, one in groups.items()
        ]
        yield from _tabulate(TITLES.get(key, key), cells, width)
    windows = [
        {
            "window": str(one.window),
            "mean KL": f"{one.kl_mean_nats:.3g}",
            "loss": f"{one.nll_increase_nats:+.3g}",
        }
        for one in evidence.worst_windows[:_MOST_WINDOWS]
    ]
    yield from _tabulate("the worst windows of text, in nats a token", windows, width)
    if flips := _describe_flips(evidence):
        yield from _wrap(flips, width)
    for finding in evidence.findings:
        yield from _wrap(f"noticed: {finding}", width)
    for line in show_worst(record).splitlines():
        yield from (Line(f"{GAP}{part}") for part in _fold(line, width - len(GAP)))


def _list_members(record: Record, evidence: Evidence, width: int) -> Iterator[Line]:
    """Every member's interval; the one that decides the verdict is marked."""
    if len(evidence.members) < 2 or record.estimate is None:
        return
    unit, cells = record.estimate.unit, []
    for name, one in evidence.members.items():
        value, low, high = (format_value(end, unit) for end in (one.value, one.low, one.high))
        part = f"{name} (decides)" if name == evidence.member else name
        interval = format_interval(value, low, high)
        cells.append({"part": part, "value": value, "interval": interval, "n": format_count(one.n)})
    yield from _tabulate("", cells, width)


def _tabulate(title: str, rows: Sequence[Mapping[str, str]], width: int) -> Iterator[Line]:
    """A small table below its title; the first column is a name and is cut where it is long."""
    if not rows:
        return
    if title:
        yield from _wrap(title, width)
    name, *numbers = rows[0]
    columns = [Column(title=name, shortest=12)]
    columns += [Column(title=one, is_number=True) for one in numbers]
    entries = [Entry(cells={key: escape_line(text) for key, text in row.items()}) for row in rows]
    for line in Table(columns=columns, entries=entries).lines(width - 2 * len(GAP)):
        yield Line(f"{GAP}{GAP}{line.text}")


def _describe_flips(evidence: Evidence) -> str:
    if evidence.share is None or evidence.reference_share is None:
        return ""
    sides = (evidence.share, evidence.reference_share)
    own, theirs = (format_value(share, "fraction") for share in sides)
    text = f"share: {own}, of the reference {theirs}"
    if evidence.lost is None or evidence.gained is None:
        return text
    return f"{text}; flips: {evidence.lost} to the worse, {evidence.gained} to the better"


def _wrap(text: str, width: int) -> Iterator[Line]:
    for line in _fold(escape_line(text), width - len(GAP)):
        yield Line(f"{GAP}{line}")


def _fold(text: str, width: int) -> list[str]:
    """Lines of an escaped text that fit, later ones set in."""
    room = max(width, _LEAST_WIDTH)
    return textwrap.wrap(text, room, subsequent_indent=GAP, break_on_hyphens=False)
