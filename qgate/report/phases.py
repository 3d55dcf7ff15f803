"""Where the seconds of a run went: `time.<phase>_s` among what the report has measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.report.columns import markdown_table
from qgate.report.evidence import reference_of
from qgate.report.rows import ABSENT, GAP, Line
from qgate.report.text import count_cells, escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.records import Report

_BEGINNING, _END = "time.", "_s"


def describe_total(measured: Mapping[str, float]) -> str:
    """Return `14 s`, all phases together; empty where none was timed."""
    times = _get_phases(measured)
    if not times:
        return ""
    total_s = sum(times.values())
    if total_s < 120:
        return f"{total_s:.{1 if total_s < 10 else 0}f} s"
    return f"{total_s / 60:.{1 if total_s < 600 else 0}f} min"


def list_phases(measured: Mapping[str, float], width: int) -> Iterator[Line]:
    """The phases and their seconds: one line below the rows of an artifact, more where it is long.

    Args:
        measured: of an artifact or of the reference.
        width: of the terminal; a phase and its time stay on one line.
    """
    times = _get_phases(measured)
    head = f"{GAP}seconds{GAP}"
    text = head
    for number, (phase, seconds) in enumerate(times.items(), start=1):
        part = f"{escape_line(phase)} {seconds:.1f}" + (", " if number < len(times) else "")
        if text.strip() and text != head and count_cells(text + part.rstrip()) > width:
            yield Line(text.rstrip())
            text = " " * len(head)
        text += part
    if times:
        yield Line(text)


def tabulate_phases(report: Report) -> list[str]:
    """A Markdown table of phases and artifacts, in seconds; empty where nothing was timed."""
    sides = [("reference", reference_of(report).measured)]
    sides += [(artifact.id, artifact.measured) for artifact in report.artifacts]
    timed = [(name, times) for name, measured in sides if (times := _get_phases(measured))]
    if not timed:
        return []
    phases = dict.fromkeys(phase for _, times in timed for phase in times)
    rows = [["seconds", *(name for name, _ in timed)]]
    rows += [[phase, *(_format_cell(times.get(phase)) for _, times in timed)] for phase in phases]
    rows.append(["all", *(_format_cell(sum(times.values())) for _, times in timed)])
    return markdown_table(rows, [False, *(True for _ in timed)])


def _get_phases(measured: Mapping[str, float]) -> dict[str, float]:
    return {
        name.removeprefix(_BEGINNING).removesuffix(_END): float(seconds)
        for name, seconds in measured.items()
        if name.startswith(_BEGINNING) and name.endswith(_END)
    }


def _format_cell(seconds: float | None) -> str:
    return ABSENT if seconds is None else f"{seconds:.1f}"
