"""All artifacts side by side, below the reference: what is gained by each, and what it costs.

Numbers without their intervals, and judged nowhere: what a verdict rests on is in the rows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qgate.report.columns import Column, Entry, Table
from qgate.report.evidence import reference_of
from qgate.report.rows import STYLES, name_scheme
from qgate.report.text import escape_line, format_bytes
from qgate.verdict import format_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.records import ArtifactReport, Report
    from qgate.report.evidence import ReferenceFacts
    from qgate.report.rows import Line

_MEASURED = ("perplexity", "KL nats", "accuracy", "TTFT", "tokens/s", "memory")
_FIRST_TO_GO = ("TTFT", "memory", "tokens/s", "KL nats", "accuracy", "perplexity", "size")
"""Columns that a narrow terminal does without; the verdict is never among them."""
_SHORTEST_LABEL = 24
"""What is left of a cut name: artifacts of one scheme are told apart by it."""
_WORDED = "scheme in words"
"""Takes the scheme's place where there is room for it beside all other columns."""
_REFERENCE = "reference"
"""In the place of a verdict."""


def compare(report: Report, width: int) -> list[Line]:
    """One line for each artifact, below the reference's; none where there is nothing to compare.

    Args:
        report: what is shown.
        width: of the terminal; where it is narrow the least important columns go.
    """
    label = _name_column(report)
    table = _tabulate(_list_entries(report), label)
    if table is None:
        return []
    worded = _tabulate([_with_words(entry) for entry in table.entries], label)
    return (worded if worded and worded.width() <= width else table).lines(width)


def compare_markdown(report: Report) -> list[str]:
    """The same as a table in Markdown, with every column that has a number."""
    table = _tabulate([_with_words(entry) for entry in _list_entries(report)], "artifact", "scheme")
    return table.markdown() if table else []


def _tabulate(entries: Sequence[Entry], *names: str) -> Table | None:
    """The columns that say something; None where only names, sizes and verdicts are left."""
    measured = [title for title in _MEASURED if any(entry.cells.get(title) for entry in entries)]
    if not measured:
        return None
    goes = {title: place for place, title in enumerate(_FIRST_TO_GO, start=1)}
    numbers = [Column(title=one, is_number=True, goes=goes[one]) for one in ("size", *measured)]
    labels = [Column(title=name, shortest=_SHORTEST_LABEL) for name in names]
    return Table(columns=(*labels, *numbers, Column(title="verdict")), entries=entries)


def _list_entries(report: Report) -> list[Entry]:
    entries = [_describe_reference(reference_of(report))] if report.reference else []
    entries += map(_describe_artifact, report.artifacts)
    return entries if len(entries) > 1 else []


def _describe_reference(reference: ReferenceFacts) -> Entry:
    size_bytes, perplexity = reference.size_bytes, reference.perplexity
    cells = {
        "artifact": escape_line(reference.id),
        "scheme": escape_line(reference.scheme),
        _WORDED: name_scheme(reference.scheme, reference.quantization),
        "size": "" if size_bytes is None else format_bytes(size_bytes),
        "perplexity": "" if perplexity is None else f"{perplexity.value:.4g}",
        **_describe_measured(reference.measured),
        "verdict": _REFERENCE,
    }
    return Entry(cells=cells)


def _describe_artifact(artifact: ArtifactReport) -> Entry:
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
    return Entry(cells=cells, style=STYLES[artifact.verdict])


def _with_words(entry: Entry) -> Entry:
    return dataclasses.replace(entry, cells={**entry.cells, "scheme": entry.cells[_WORDED]})


def _describe_measured(measured: Mapping[str, float]) -> dict[str, str]:
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
    """Below the reference's own perplexity: what an artifact's comes on top of it."""
    return ("+" if increase > 0 else "") + format_value(increase, "perplexity")


def _name_column(report: Report) -> str:
    """What tells the artifacts apart: the scheme is shorter than the id, where it does."""
    schemes = [artifact.scheme for artifact in report.artifacts]
    return "scheme" if len(set(schemes)) == len(schemes) else "artifact"
