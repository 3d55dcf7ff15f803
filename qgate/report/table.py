"""The report as a table for people: for a terminal of any width, and as Markdown.

Rendering is pure: it judges nothing and reads only the report's public JSON, so that the table of a
report that was read back from disk is the table that the run showed.
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from qgate.checks import CHECKS
from qgate.report.text import (
    count_cells,
    cut_middle,
    escape_line,
    escape_markdown,
    format_bytes,
    format_count,
    pad,
)
from qgate.verdict import format_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.records import Report

Style = Literal["plain", "bold", "green", "red", "yellow"]

_STYLES: dict[str, Style] = {
    "pass": "green",
    "fail": "red",
    "error": "red",
    "inconclusive": "yellow",
    "incomplete": "yellow",
}
_NEEDS_ATTENTION = ("fail", "error", "inconclusive", "incomplete")
_GAP = "  "
_SHORTEST_NAME = 16
"""What a cut id or name keeps at least, in columns."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text and how to paint it; the text alone says everything."""

    text: str
    style: Style = "plain"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    name: str
    value: str
    interval: str
    limit: str
    verdict: str

    def estimate(self, room: int) -> str:
        """Value and interval, or the value alone where both do not fit."""
        both = f"{self.value} {self.interval}".rstrip()
        return both if len(both) <= room else self.value


def render(report: Report, width: int) -> list[Line]:
    """Return the table for a terminal `width` columns wide."""
    report_json = report.to_json()
    artifacts = report_json["artifacts"]
    lines = list(_render_reference(report_json["reference"], width))
    rows = [_fold(list(map(_make_row, artifact["checks"]))) for artifact in artifacts]
    columns = _Columns.fit([row for block in rows for row in block], width)
    for artifact, block in zip(artifacts, rows, strict=True):
        lines.append(_render_header(artifact, width))
        lines += [columns.render(row) for row in block]
        if not block:
            lines.append(Line("  no rows", "red"))
    messages = [Line(escape_line(text), style) for text, style in _find_messages(artifacts)]
    return [*lines, *messages, _render_summary(report_json, width)]


def render_markdown(report_json: dict[str, Any]) -> str:
    """Return the table of a report's JSON as Markdown: for MLflow's note and for GitHub."""
    reference, artifacts = report_json["reference"], report_json["artifacts"]
    facts = _describe_reference(reference)
    lines = [escape_markdown("reference: " + ", ".join(facts)) if facts else "no reference", ""]
    lines += ["| artifact | scheme | size | check | estimate | limit | verdict |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for artifact in artifacts:
        head = (artifact["id"], artifact["scheme"], format_bytes(artifact["size_bytes"]))
        lines.append(_markdown_row((*head, "", "", "", artifact["verdict"].upper())))
        for row in map(_make_row, artifact["checks"]):
            estimate = " ".join(filter(None, (row.value, row.interval)))
            lines.append(_markdown_row(("", "", "", row.name, estimate, row.limit, row.verdict)))
    lines.append("")
    lines += [f"* {escape_markdown(text)}" for text, _ in _find_messages(artifacts)]
    return "\n".join([*lines, "", escape_markdown(_describe_smallest(report_json))])


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _find_messages(artifacts: list[dict[str, Any]]) -> Iterator[tuple[str, Style]]:
    """One line for each row that needs attention; rows with one and the same cause share it."""
    for artifact in artifacts:
        causes: dict[tuple[str, str], list[str]] = {}
        for check in artifact["checks"]:
            if check["verdict"] in _NEEDS_ATTENTION:
                cause = check["message"].removeprefix(f"{check['name']}: ")
                own = cause if check["value"] is None else check["message"]
                causes.setdefault((check["verdict"], own), []).append(check["name"])
        for (verdict, cause), names in causes.items():
            yield _describe_cause(artifact["id"], cause, names), _STYLES[verdict]


def _describe_cause(artifact_id: str, cause: str, names: list[str]) -> str:
    """`id: cause`, and which rows it concerns where that is not said already."""
    text = cause if cause.startswith(f"{artifact_id}: ") else f"{artifact_id}: {cause}"
    if names[0] in cause:
        return text
    shown = names[0] if len(names) == 1 else f"{len(names)} rows: {names[0]} ... {names[-1]}"
    return f"{text} ({shown})"


def _fold(rows: list[_Row]) -> list[_Row]:
    """Rows of one area that only hold or not are one line where they all hold."""
    folded: list[_Row] = []
    for area, group in itertools.groupby(rows, key=lambda row: row.name.partition(".")[0]):
        members = list(group)
        if len(members) > 1 and all(row.verdict == "pass" and not row.value for row in members):
            members = [dataclasses.replace(members[0], name=f"{area}.* ({len(members)} rows)")]
        folded += members
    return folded


def _make_row(check: dict[str, Any]) -> _Row:
    value = interval = ""
    if check["value"] is not None:
        unit = check["unit"]
        value, low, high = (format_value(check[name], unit) for name in ("value", "low", "high"))
        suffix = " %" if unit == "fraction" else f" {unit}"
        interval = f"[{low.removesuffix(suffix)}, {high.removesuffix(suffix)}]"
    word = check["verdict"]
    return _Row(
        name=escape_line(check["name"]),
        value=value,
        interval=interval,
        limit=_format_limit(check),
        verdict=word if word in ("pass", "skipped") else word.upper(),
    )


def _format_limit(check: dict[str, Any]) -> str:
    limit = check["limit"] or {}
    bounds = [(sign, limit.get(bound)) for sign, bound in ((">=", "min"), ("<=", "max"))]
    # as somebody wrote it: a bound is no measurement, and must not be rounded like one
    known = CHECKS.get(check["name"])
    unit = check["unit"] or (known and known.unit)
    scale, suffix = (100, " %") if unit == "fraction" else (1, "")
    return " ".join(
        f"{sign} {bound * scale:.6g}{suffix}" for sign, bound in bounds if bound is not None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    """Widths that all artifacts of a table share."""

    name: int
    value: int
    limit: int

    @classmethod
    def fit(cls, rows: list[_Row], width: int) -> _Columns:
        """Choose the widths: intervals too long for the room left go first, then names' middles."""
        name = max((count_cells(row.name) for row in rows), default=0)
        limit = max((len(row.limit) for row in rows), default=0)
        verdict = max((len(row.verdict) for row in rows), default=0)
        fixed = limit + verdict + 4 * len(_GAP)
        room = max(width - name - fixed, 0)
        value = max((len(row.estimate(room)) for row in rows), default=0)
        # air, where there is room for it
        air = max(0, min(4, (width - name - value - fixed) // 3))
        name = max(_SHORTEST_NAME, min(name, width - value - fixed))
        return cls(name=name + air, value=value + air, limit=limit + air)

    def render(self, row: _Row) -> Line:
        value = row.estimate(self.value)
        cells = (
            pad(cut_middle(row.name, self.name), self.name),
            pad(value, self.value),
            pad(row.limit, self.limit),
            row.verdict,
        )
        style = _STYLES.get(row.verdict.lower(), "plain")
        return Line((_GAP + _GAP.join(cells)).rstrip(), style)


def _render_header(artifact: dict[str, Any], width: int) -> Line:
    runtime = artifact["runtime"] or {}
    served = " ".join(
        escape_line(str(runtime.get(key, ""))) for key in ("name", "version", "device")
    )
    facts = [escape_line(artifact["scheme"]), format_bytes(artifact["size_bytes"]), served.strip()]
    facts = [fact for fact in facts if fact]
    verdict = artifact["verdict"].upper()
    room = width - len(verdict) - len(_GAP)
    identifier = escape_line(artifact["id"])
    needed = min(_SHORTEST_NAME, count_cells(identifier))
    while facts and needed + sum(count_cells(fact) + len(_GAP) for fact in facts) > room:
        facts.pop()
    rest = "".join(_GAP + fact for fact in facts)
    text = cut_middle(identifier, room - count_cells(rest)) + rest
    return Line(pad(text, room) + _GAP + verdict, "bold")


def _render_reference(reference: dict[str, Any], width: int) -> Iterator[Line]:
    facts = _describe_reference(reference)
    if not facts:
        yield Line("no reference", "yellow")
        return
    text = "reference"
    for fact in facts:
        if count_cells(text) + len(_GAP) + count_cells(fact) > width and text.strip():
            yield Line(text)
            text = " " * len("reference")
        text += _GAP + cut_middle(fact, width - len("reference") - len(_GAP))
    yield Line(text)


def _describe_reference(reference: dict[str, Any]) -> list[str]:
    """Name the original and what it was measured on, as far as the report tells."""
    facts = [reference.get("id"), reference.get("scheme")]
    if reference.get("size_bytes") is not None:
        facts.append(format_bytes(reference["size_bytes"]))
    perplexity = reference.get("perplexity")
    if isinstance(perplexity, dict) and perplexity.get("value") is not None:
        count = perplexity.get("n")
        over = f" (n = {format_count(count)})" if count is not None else ""
        facts.append(f"perplexity {perplexity['value']:.4g}{over}")
    text = reference.get("text")
    if isinstance(text, dict) and text:
        digest = str(text.get("digest") or "")[:19]
        facts.append(f"text {text.get('name') or 'unnamed'} {digest}".rstrip())
    store = reference.get("store")
    if isinstance(store, dict) and store:
        cost = f"stored in {format_bytes(store['store_bytes'])}"
        facts.append(f"{cost}, KL against itself {store['self_kl_nats']:.1e} nats")
    return [escape_line(str(fact)) for fact in facts if fact]


def _find_smallest(artifacts: list[dict[str, Any]]) -> dict[str, Any] | None:
    passing = [artifact for artifact in artifacts if artifact["verdict"] == "pass"]
    return min(passing, key=lambda artifact: artifact["size_bytes"], default=None)


def _describe_smallest(report_json: dict[str, Any], width: int | None = None) -> str:
    smallest = _find_smallest(report_json["artifacts"])
    if smallest is None:
        return "no artifact passes"
    facts = [escape_line(smallest["scheme"]), format_bytes(smallest["size_bytes"])]
    original_bytes = report_json["reference"].get("size_bytes")
    if original_bytes:
        facts.append(f"{100 * smallest['size_bytes'] / original_bytes:.0f} % of the reference")
    head, identifier = "smallest artifact that passes: ", escape_line(smallest["id"])
    if width is None:
        return f"{head}{identifier} ({', '.join(facts)})"
    room = max(_SHORTEST_NAME, width - len(head) - count_cells(f" ({', '.join(facts)})"))
    return f"{head}{cut_middle(identifier, room)} ({', '.join(facts)})"


def _render_summary(report_json: dict[str, Any], width: int) -> Line:
    text = _describe_smallest(report_json, width)
    return Line(text, "green" if _find_smallest(report_json["artifacts"]) else "red")
