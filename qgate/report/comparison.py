"""All artifacts side by side, below the original: what is gained by each, and what it costs.

Numbers without their intervals, and judged nowhere: what a verdict rests on is in the rows.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.report.rows import ABSENT, GAP, STYLES, Line, Style, name_scheme
from qgate.report.text import count_cells, cut_middle, escape_line, escape_markdown, format_bytes
from qgate.verdict import format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import ArtifactReport, Report

_MEASURED = ("perplexity", "KL nats", "accuracy", "TTFT", "tokens/s", "memory")
_FIRST_TO_GO = ("TTFT", "memory", "tokens/s", "KL nats", "accuracy", "perplexity", "size")
"""Columns that a narrow terminal does without; the verdict is never among them."""
_SHORTEST_LABEL = 24
"""What is left of a cut name: artifacts of one scheme are told apart by it."""
_WORDED = "scheme in words"
"""Takes the scheme's place where there is room for it beside all other columns."""
_ORIGINAL = "reference"
"""In the place of a verdict."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One row: cells by the title of their column; what was not measured has none."""

    cells: Mapping[str, str]
    style: Style

    def get(self, title: str) -> str:
        return self.cells.get(title) or ABSENT


def compare(report: Report, width: int) -> list[Line]:
    """One line for each artifact, below the original's; none where there is nothing to compare.

    Args:
        report: what is shown.
        width: of the terminal; where it is narrow the least important columns go.
    """
    entries = _list_entries(report)
    titles = _choose_titles(entries, _name_column(report))
    if not titles:
        return []
    columns = {title: _measure(title, entries) for title in titles}
    label, *_ = titles
    worded = _measure(_WORDED, entries)
    if label == "scheme" and _add_up(columns) - columns[label] + worded <= width:
        columns[label] = worded
        entries = [_with_words(entry) for entry in entries]
    shortest = min(columns[label], _SHORTEST_LABEL)
    for title in _FIRST_TO_GO:
        if _add_up(columns) - columns[label] + shortest > width:
            columns.pop(title, None)
    columns[label] = max(shortest, min(columns[label], width - _add_up(columns) + columns[label]))
    head = _Entry(cells={title: title for title in columns}, style="bold")
    return [_render(entry, columns) for entry in (head, *entries)]


def compare_markdown(report: Report) -> list[str]:
    """The same as a table in Markdown, with every column that has a number."""
    entries = _list_entries(report)
    titles = _choose_titles(entries, "artifact", "scheme")
    if not titles:
        return []
    entries = [_with_words(entry) for entry in entries]
    rows = [titles]
    rows += [[entry.get(title) for title in titles] for entry in entries]
    head, *lines = [f"| {' | '.join(map(escape_markdown, row))} |" for row in rows]
    rule = "".join("---:|" if _is_number(title) else "---|" for title in titles)
    return [head, f"|{rule}", *lines]


def _list_entries(report: Report) -> list[_Entry]:
    reference = report.reference
    entries = [_describe_reference(reference)] if reference else []
    entries += map(_describe_artifact, report.artifacts)
    return entries if len(entries) > 1 else []


def _describe_reference(reference: dict[str, Any]) -> _Entry:
    size_bytes = reference.get("size_bytes")
    perplexity = (reference.get("perplexity") or {}).get("value")
    scheme = reference.get("scheme") or ""
    cells = {
        "artifact": escape_line(reference.get("id") or ""),
        "scheme": escape_line(scheme),
        _WORDED: name_scheme(scheme, reference.get("quantization") or ""),
        "size": "" if size_bytes is None else format_bytes(size_bytes),
        "perplexity": "" if perplexity is None else f"{perplexity:.4g}",
        **_describe_measured(reference.get("measured") or {}),
        "verdict": _ORIGINAL,
    }
    return _Entry(cells=cells, style="plain")


def _describe_artifact(artifact: ArtifactReport) -> _Entry:
    values = {row.name: row.estimate.value for row in artifact.records if row.estimate}
    increase, kl_nats = values.get("perplexity.increase"), values.get("divergence.kl_mean")
    cells = {
        "artifact": escape_line(artifact.id),
        "scheme": escape_line(artifact.scheme),
        _WORDED: name_scheme(artifact.scheme, artifact.quantization),
        "size": format_bytes(artifact.size_bytes),
        "perplexity": "" if increase is None else _format_increase(increase),
        "KL nats": "" if kl_nats is None else format_value(kl_nats, "nats"),
        **_describe_measured(artifact.measured),
        "verdict": artifact.verdict.value.upper(),
    }
    return _Entry(cells=cells, style=STYLES[artifact.verdict])


def _with_words(entry: _Entry) -> _Entry:
    return dataclasses.replace(entry, cells={**entry.cells, "scheme": entry.cells[_WORDED]})


def _describe_measured(measured: Mapping[str, Any]) -> dict[str, str]:
    cells = {}
    if (accuracy := measured.get("accuracy")) is not None:
        cells["accuracy"] = format_value(accuracy, "fraction")
    if (ttft_ms := measured.get("ttft_ms")) is not None:
        cells["TTFT"] = format_value(ttft_ms, "ms")
    if (output_tps := measured.get("output_tps")) is not None:
        cells["tokens/s"] = f"{output_tps:.{1 if output_tps < 100 else 0}f}"
    if (peak_memory_bytes := measured.get("peak_memory_bytes")) is not None:
        cells["memory"] = format_value(peak_memory_bytes, "bytes").removeprefix("+")
    return cells


def _format_increase(increase: float) -> str:
    """Below the original's own perplexity: what an artifact's comes on top of it."""
    return ("+" if increase > 0 else "") + format_value(increase, "perplexity")


def _name_column(report: Report) -> str:
    """What tells the artifacts apart: the scheme is shorter than the id, where it does."""
    schemes = [artifact.scheme for artifact in report.artifacts]
    return "scheme" if len(set(schemes)) == len(schemes) else "artifact"


def _choose_titles(entries: Sequence[_Entry], *names: str) -> list[str]:
    """The columns that say something; none where only names, sizes and verdicts are left."""
    measured = [title for title in _MEASURED if any(entry.cells.get(title) for entry in entries)]
    return [*names, "size", *measured, "verdict"] if measured else []


def _measure(title: str, entries: Sequence[_Entry]) -> int:
    head = "scheme" if title == _WORDED else title
    return max(map(count_cells, (head, *(entry.get(title) for entry in entries))))


def _add_up(columns: Mapping[str, int]) -> int:
    return sum(columns.values()) + len(GAP) * (len(columns) - 1)


def _render(entry: _Entry, columns: Mapping[str, int]) -> Line:
    cells = []
    for title, width in columns.items():
        text = cut_middle(entry.get(title), width)
        air = " " * (width - count_cells(text))
        cells.append(air + text if _is_number(title) else text + air)
    return Line(GAP.join(cells).rstrip(), entry.style)


def _is_number(title: str) -> bool:
    return title == "size" or title in _MEASURED
