"""What served which model: runtime, device, kernel, and why this one.

Shown where a run has more than one runtime, or where a kernel is known: a table below the
comparison, and sentences for what the runtimes themselves add to the difference between an artifact
and a reference that ran elsewhere, and for rows of which the machine is not the one that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.checks import area_of
from qgate.report.columns import Column, Entry, Table
from qgate.report.evidence import reference_of
from qgate.report.rows import Line
from qgate.report.text import escape_line, escape_markdown, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.records import ArtifactReport, Report, RuntimeFacts
    from qgate.report.evidence import ReferenceFacts

_COLUMNS = (
    Column(title="artifact", shortest=16),
    Column(title="runtime", shortest=19),
    Column(title="device", shortest=8, goes=2),
    Column(title="kernel", shortest=15, goes=3),
    Column(title="why", shortest=16, goes=1),
)
_REFERENCE = "reference"
"""In the place of a reason."""


def list_runtimes(report: Report, width: int) -> list[Line]:
    """The table; empty where one runtime without a kernel served everything.

    Args:
        report: what is shown.
        width: of the terminal; cells are cut in their middle, on a narrow one columns go.
    """
    return _tabulate(report).lines(width)


def list_differences(report: Report, width: int) -> list[Line]:
    """What the runtimes and the device add to it all; empty where they add nothing."""
    return [
        Line(text, "yellow")
        for sentence in _describe_differences(report)
        for text in wrap(sentence, width)
    ]


def runtimes_markdown(report: Report) -> list[str]:
    """The table in Markdown, with whole cells."""
    return _tabulate(report).markdown()


def differences_markdown(report: Report) -> list[str]:
    return [f"* {escape_markdown(text)}" for text in _describe_differences(report)]


def name_runtime(runtime: RuntimeFacts | None, *, with_device: bool = False) -> str:
    """`transformers 5.17.0`; empty where it is not known."""
    if runtime is None:
        return ""
    parts = (runtime.name, runtime.version, runtime.device if with_device else "")
    return " ".join(escape_line(part) for part in parts if part)


def _tabulate(report: Report) -> Table:
    sides = [(one.id, one.runtime, _REFERENCE) for one in _references(report)]
    sides += [(one.id, one.runtime, "") for one in report.artifacts]
    known = [runtime for _, runtime, _ in sides if runtime]
    if len({one.name for one in known}) < 2 and not any(one.kernel for one in known):
        sides = []
    return Table(columns=_COLUMNS, entries=[Entry(cells=_cells(*side)) for side in sides])


def _cells(name: str, runtime: RuntimeFacts | None, instead: str) -> dict[str, str]:
    cells = {"artifact": escape_line(name), "why": instead}
    if runtime is None:
        return cells
    return {
        **cells,
        "runtime": name_runtime(runtime),
        "device": escape_line(runtime.device),
        "kernel": escape_line(runtime.kernel),
        "why": escape_line(runtime.reason) or instead,
    }


def _references(report: Report) -> list[ReferenceFacts]:
    """The reference in every runtime that served it: at home first."""
    home = reference_of(report)
    return [home, *home.elsewhere] if report.reference else []


def _describe_differences(report: Report) -> Iterator[str]:
    home = _home(report)
    pairs: dict[tuple[str, str], list[str]] = {}
    unjudged: list[str] = []
    for artifact in report.artifacts:
        own = artifact.runtime.name if artifact.runtime else ""
        other = artifact.compared_with.get("runtime") or home
        if own and other and own != other:
            pairs.setdefault((own, other), []).append(escape_line(artifact.id))
            if _has_unjudged(artifact) and not _is_stand_in(artifact):
                unjudged.append(escape_line(artifact.id))
    for (own, other), ids in pairs.items():
        names = f"{escape_line(own)} against {escape_line(other)}"
        yield f"differences of runtimes are included: {', '.join(ids)} ({names})"
    yield from _describe_reference_elsewhere(report)
    if unjudged:
        yield (
            f"the reference in another runtime: times and memory of {', '.join(unjudged)} against"
            " it are shown, not judged"
        )
    if ids := [escape_line(one.id) for one in report.artifacts if _is_stand_in(one)]:
        yield f"a CPU in place of a GPU: times and memory of {', '.join(ids)} are shown, not judged"


def _is_stand_in(artifact: ArtifactReport) -> bool:
    """Whether rows of it have no limit because of where they were measured."""
    on_cpu = artifact.runtime is not None and artifact.runtime.device == "cpu"
    return on_cpu and artifact.format == "hf" and _has_unjudged(artifact)


def _has_unjudged(artifact: ArtifactReport) -> bool:
    return any(
        area_of(row.name) in ("latency", "memory") and row.estimate and row.limit is None
        for row in artifact.records
    )


def _describe_reference_elsewhere(report: Report) -> Iterator[str]:
    """What the runtimes differ by on their own: the same weights and tokens in two of them."""
    home = escape_line(_home(report))
    for side in reference_of(report).elsewhere:
        found = side.runtime_difference
        if found and side.runtime:
            ends = f"[{found.low:.5f}, {found.high:.5f}]"
            where = escape_line(side.runtime.name)
            text = f"the reference's perplexity in {where} is {found.value:.5f} {ends}"
            yield f"{text} times that in {home}"


def _home(report: Report) -> str:
    """The runtime that is the reference's own choice; empty where none served it."""
    runtime = reference_of(report).runtime
    return runtime.name if runtime else ""
