"""The report as a table for people: for a terminal of any width, and as Markdown.

Rendering is pure: it judges nothing, and the table of a report that was read back from disk is the
table that the run showed.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qgate.records import Verdict
from qgate.report.columns import markdown_table
from qgate.report.comparison import compare, compare_markdown
from qgate.report.evidence import evidence_of, reference_of
from qgate.report.groups import list_groups
from qgate.report.kept import describe_kept
from qgate.report.phases import describe_total, list_phases, tabulate_phases
from qgate.report.rows import (
    ALARM,
    GAP,
    SHORTEST_NAME,
    STYLES,
    Columns,
    Line,
    Style,
    fold,
    is_alarm,
    make_rows,
    name_scheme,
)
from qgate.report.runtimes_table import (
    differences_markdown,
    list_differences,
    list_runtimes,
    name_runtime,
    runtimes_markdown,
)
from qgate.report.text import (
    count_cells,
    cut_middle,
    escape_line,
    escape_markdown,
    format_bytes,
    format_count,
    pad,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qgate.records import ArtifactReport, Record, Report
    from qgate.report.evidence import ReferenceFacts

_FINE = (Verdict.PASS, Verdict.SKIPPED)


def render(report: Report, width: int, verbose: bool = False) -> list[Line]:
    """Return the table for a terminal `width` columns wide.

    Args:
        report: what is shown.
        width: of the terminal.
        verbose: show the mean divergence by groups of tokens, what silent alarms would have seen
            and the seconds of every phase, too.
    """
    reference, artifacts = reference_of(report), report.artifacts
    lines = list(_render_reference(reference, width))
    if verbose:
        lines += list_phases(reference.measured, width)
    rows = [fold(make_rows(artifact)) for artifact in artifacts]
    columns = Columns.fit([row for block in rows for row in block], width)
    for artifact, block in zip(artifacts, rows, strict=True):
        lines.append(render_header(artifact, width))
        if kept := describe_kept(artifact):
            lines.append(Line(f"  {kept}"))
        lines += [columns.render(row) for row in block]
        if not block:
            lines.append(Line("  no rows", "red"))
        if verbose:
            lines += list_groups(artifact, width)
            lines += _list_blind_spots(artifact)
            lines += list_phases(artifact.measured, width)
    lines += [Line(text) for text in _explain_mark(artifacts)]
    lines += [Line(escape_line(text), style) for text, style in _find_messages(artifacts)]
    lines += compare(report, width)
    lines += list_runtimes(report, width)
    lines += list_differences(report, width)
    return [*lines, _render_summary(report, width)]


def render_markdown(report: Report) -> str:
    """Return the tables of a report as Markdown: for MLflow's note and for GitHub."""
    smallest = [escape_markdown(_describe_smallest(report))]
    return _join([*_list_parts(report), smallest])


def render_artifact_markdown(report: Report, artifact: ArtifactReport) -> str:
    """Return the same of one artifact beside the reference."""
    return _join(_list_parts(dataclasses.replace(report, artifacts=(artifact,))))


def _list_parts(report: Report) -> list[list[str]]:
    artifacts = report.artifacts
    facts = _describe_reference(reference_of(report))
    said = escape_markdown("reference: " + ", ".join(facts)) if facts else "no reference"
    kept = [(artifact.id, describe_kept(artifact)) for artifact in artifacts]
    messages = [f"* {escape_markdown(f'{name}: {text}')}" for name, text in kept if text]
    messages += [f"* {escape_markdown(text)}" for text, _ in _find_messages(artifacts)]
    return [
        [said],
        compare_markdown(report),
        runtimes_markdown(report),
        differences_markdown(report),
        messages,  # before the rows: MLflow's note ends somewhere among those
        _tabulate_rows(artifacts),
        [escape_markdown(text) for text in _explain_mark(artifacts)],
        tabulate_phases(report),
    ]


def _join(parts: list[list[str]]) -> str:
    return "\n\n".join("\n".join(part) for part in parts if part)


def _tabulate_rows(artifacts: Sequence[ArtifactReport]) -> list[str]:
    rows = [["artifact", "scheme", "size", "check", "estimate", "limit", "verdict"]]
    for artifact in artifacts:
        scheme = name_scheme(artifact.scheme, artifact.quantization)
        head = [artifact.id, scheme, format_bytes(artifact.size_bytes)]
        rows.append([*head, "", "", "", artifact.verdict.value.upper()])
        for row in make_rows(artifact):
            estimate = " ".join(filter(None, (row.value, row.interval)))
            rows.append(["", "", "", row.full_name, estimate, row.limit, row.word])
    return markdown_table(rows, [False] * len(rows[0]))


def _explain_mark(artifacts: Sequence[ArtifactReport]) -> Iterator[str]:
    """The line that says what the mark is, where a row has it."""
    if any(is_alarm(record) for artifact in artifacts for record in artifact.records):
        yield f"{ALARM} an alarm: it fails where damage is shown and is beyond the limit"


def _list_blind_spots(artifact: ArtifactReport) -> Iterator[Line]:
    """Of each alarm that stayed silent, the smallest damage that it would have seen."""
    for record in artifact.records:
        if seen := evidence_of(record).would_have_seen:
            name = escape_line(record.name)
            yield Line(f"{GAP}{name}: would have seen {escape_line(seen)} (4 times in 5)")


def _find_messages(artifacts: Sequence[ArtifactReport]) -> Iterator[tuple[str, Style]]:
    """One line for each row that needs attention; rows with one and the same cause share it.

    Below them what was noticed and is judged by no limit, and once for all artifacts why rows were
    skipped.
    """
    for artifact in artifacts:
        causes: dict[tuple[Verdict, str], list[str]] = {}
        for record in artifact.records:
            if record.verdict not in _FINE:
                own = _cause(record) if record.estimate is None else record.message
                causes.setdefault((record.verdict, own), []).append(record.name)
        for (verdict, cause), names in causes.items():
            yield _describe_cause(artifact.id, cause, names), STYLES[verdict]
        for record in artifact.records:
            for finding in evidence_of(record).findings:
                yield f"{artifact.id}: {record.name}: noticed: {finding}", "yellow"
    yield from ((f"skipped: {reason}", "plain") for reason in _find_reasons(artifacts))


def _cause(record: Record) -> str:
    """The message without the row's name: rows may share it."""
    return record.message.removeprefix(f"{record.name}: ")


def _find_reasons(artifacts: Sequence[ArtifactReport]) -> Iterator[str]:
    """Why rows were skipped, or were measured and not judged although there is a limit."""
    causes: dict[str, dict[str, None]] = {}
    for artifact in artifacts:
        for record in artifact.records:
            is_shown = record.estimate is None or evidence_of(record).not_judged
            if record.verdict is Verdict.SKIPPED and is_shown:
                causes.setdefault(_cause(record), {})[record.name] = None
    for cause, names in causes.items():
        one, *others = names
        yield f"{cause} ({_name_rows([one, *others])})" if others else f"{one}: {cause}"


def _describe_cause(artifact_id: str, cause: str, names: list[str]) -> str:
    """`id: cause`, and which rows it concerns where that is not said already."""
    text = cause if cause.startswith(f"{artifact_id}: ") else f"{artifact_id}: {cause}"
    if names[0] in cause:
        return text
    return f"{text} ({_name_rows(names)})"


def _name_rows(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} rows: {names[0]} ... {names[-1]}"


def render_header(artifact: ArtifactReport, width: int) -> Line:
    """What an artifact is and what served it, with its verdict at the right."""
    verdict = artifact.verdict.value.upper()
    room = width - len(verdict) - len(GAP)
    identifier = escape_line(artifact.id)
    needed, rest = min(SHORTEST_NAME, count_cells(identifier)), ""
    for facts in _list_facts(artifact):
        rest = "".join(GAP + fact for fact in facts if fact)
        if needed + count_cells(rest) <= room:
            break
    text = cut_middle(identifier, room - count_cells(rest)) + rest
    return Line(pad(text, room) + GAP + verdict, "bold")


def _list_facts(artifact: ArtifactReport) -> Iterator[list[str]]:
    """What a header tells, all of it first: what is told elsewhere too goes before the rest."""
    runtime = artifact.runtime
    kernel = escape_line(runtime.kernel) if runtime else ""
    served = name_runtime(runtime, with_device=True)
    size, total = format_bytes(artifact.size_bytes), describe_total(artifact.measured)
    scheme = escape_line(artifact.scheme)
    yield [name_scheme(artifact.scheme, artifact.quantization), size, served, kernel, total]
    yield [scheme, size, served, kernel, total]
    facts = [scheme, size, served, total]
    yield facts
    for count in (3, 2, 1, 0):
        yield facts[:count]


def _render_reference(reference: ReferenceFacts, width: int) -> Iterator[Line]:
    facts = _describe_reference(reference)
    if not facts:
        yield Line("no reference", "yellow")
        return
    text = "reference"
    for fact in facts:
        if count_cells(text) + len(GAP) + count_cells(fact) > width and text.strip():
            yield Line(text)
            text = " " * len("reference")
        text += GAP + cut_middle(fact, width - len("reference") - len(GAP))
    yield Line(text)


def _describe_reference(reference: ReferenceFacts) -> list[str]:
    """Name the reference and what it was measured on, as far as the report tells."""
    facts = [reference.id, reference.scheme]
    if reference.size_bytes is not None:
        facts.append(format_bytes(reference.size_bytes))
    if perplexity := reference.perplexity:
        over = "" if perplexity.n is None else f" (n = {format_count(perplexity.n)})"
        facts.append(f"perplexity {perplexity.value:.4g}{over}")
    if text := reference.text:
        facts.append(f"text {text.name} {text.digest[:19]}".rstrip())
    if store := reference.store:
        cost = f"stored in {format_bytes(store.store_bytes)}"
        facts.append(f"{cost}, KL against itself {store.self_kl_nats:.1e} nats")
    return [escape_line(fact) for fact in facts if fact]


def _find_smallest(artifacts: Sequence[ArtifactReport]) -> ArtifactReport | None:
    passing = [artifact for artifact in artifacts if artifact.verdict is Verdict.PASS]
    return min(passing, key=lambda artifact: artifact.size_bytes, default=None)


def _describe_smallest(report: Report, width: int | None = None) -> str:
    smallest = _find_smallest(report.artifacts)
    if smallest is None:
        return "no artifact passes"
    facts = [escape_line(smallest.scheme), format_bytes(smallest.size_bytes)]
    reference_bytes = reference_of(report).size_bytes
    if reference_bytes:
        facts.append(f"{100 * smallest.size_bytes / reference_bytes:.0f} % of the reference")
    head, identifier = "smallest artifact that passes: ", escape_line(smallest.id)
    if width is None:
        return f"{head}{identifier} ({', '.join(facts)})"
    room = max(SHORTEST_NAME, width - len(head) - count_cells(f" ({', '.join(facts)})"))
    return f"{head}{cut_middle(identifier, room)} ({', '.join(facts)})"


def _render_summary(report: Report, width: int) -> Line:
    text = _describe_smallest(report, width)
    return Line(text, "green" if _find_smallest(report.artifacts) else "red")
