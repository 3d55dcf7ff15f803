"""The worst samples: of a failing row side by side, of a report as MLflow's table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.report.evidence import evidence_of
from qgate.report.text import escape_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import Record, Report
    from qgate.report.evidence import Sample

COLUMNS = ("artifact", "check", "prompt", "expected", "reference_answer", "artifact_answer")
_MOST_CHARACTERS = 160


def show_worst(record: Record) -> str:
    """Lines for a terminal; empty where the row has no such samples.

    Prompts are cut at their beginning, for what is asked stands at their end.
    """
    samples = evidence_of(record).worst
    return "\n\n".join("\n".join(_show(number, one)) for number, one in enumerate(samples, 1))


def _show(number: int, sample: Sample) -> Iterator[str]:
    for part in ("prompt", "expected", "reference", "artifact"):
        whole = getattr(sample, part)
        if whole is None:
            continue
        text = escape_line(repr(whole)[1:-1])
        if len(text) > _MOST_CHARACTERS:
            is_prompt = part == "prompt"
            text = f"…{text[-_MOST_CHARACTERS:]}" if is_prompt else f"{text[:_MOST_CHARACTERS]}…"
        head = f"{number}. " if part == "prompt" else "   "
        yield f"{head}{part:<9} {text}"


def tabulate_worst(report: Report) -> dict[str, Any]:
    """`columns` and `data`, as pandas' orient="split" and MLflow's tables have it."""
    data = [
        [artifact.id, record.name, one.prompt, one.expected or "", one.reference, one.artifact]
        for artifact in report.artifacts
        for record in artifact.records
        for one in evidence_of(record).worst
    ]
    return {"columns": list(COLUMNS), "data": data}
