"""What served which model: runtime, device, kernel, and why this one.

Shown where a run has more than one runtime, or where a kernel is known: a table below the
comparison, and sentences for what the runtimes themselves add to the difference between an artifact
and an original that ran elsewhere, and for rows of which the machine is not the one that counts.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.checks import area_of
from qgate.report.rows import ABSENT, GAP, Line
from qgate.report.text import count_cells, cut_middle, escape_line, escape_markdown, pad, wrap

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_SHORTEST: Mapping[str, int] = MappingProxyType(
    {"artifact": 16, "runtime": 19, "device": 8, "kernel": 15, "why": 16}
)
"""The columns, and what is left of each where it is cut."""
_FIRST_TO_GO = ("why", "device", "kernel")
_ORIGINAL = "reference"
"""In the place of a reason."""


def list_runtimes(report_json: dict[str, Any], width: int) -> list[Line]:
    """The table; empty where one runtime without a kernel served everything.

    Args:
        report_json: the report.
        width: of the terminal; cells are cut in their middle, on a narrow one columns go.
    """
    rows = _list_rows(report_json)
    columns = _fit(rows, width)
    titles = {title: title for title in columns}
    lines = [_render(row, columns) for row in (titles, *rows)] if rows else []
    return [Line(text, "plain" if number else "bold") for number, text in enumerate(lines)]


def list_differences(report_json: dict[str, Any], width: int) -> list[Line]:
    """What the runtimes and the device add to it all; empty where they add nothing."""
    return [
        Line(text, "yellow")
        for sentence in _describe_differences(report_json)
        for text in wrap(sentence, width)
    ]


def runtimes_markdown(report_json: dict[str, Any]) -> list[str]:
    """The table in Markdown, with whole cells."""
    rows = _list_rows(report_json)
    if not rows:
        return []
    titles = _choose_titles(rows)
    cells = [titles, *([row.get(title) or ABSENT for title in titles] for row in rows)]
    head, *lines = [f"| {' | '.join(map(escape_markdown, row))} |" for row in cells]
    return [head, f"|{'---|' * len(titles)}", *lines]


def differences_markdown(report_json: dict[str, Any]) -> list[str]:
    """The sentences in Markdown."""
    return [f"* {escape_markdown(text)}" for text in _describe_differences(report_json)]


def name_runtime(runtime: Mapping[str, Any]) -> str:
    """`transformers 5.17.0`; empty where it is not known."""
    return _join(runtime, "name", "version")


def _join(facts: Mapping[str, Any], *names: str) -> str:
    return " ".join(escape_line(str(facts[name])) for name in names if facts.get(name))


def _list_rows(report_json: dict[str, Any]) -> list[dict[str, str]]:
    served = [(side, _ORIGINAL) for side in _originals(report_json)]
    served += [(artifact, "") for artifact in report_json["artifacts"]]
    known = [side.get("runtime") or {} for side, _ in served]
    names = {runtime["name"] for runtime in known if runtime.get("name")}
    if len(names) < 2 and not any(runtime.get("kernel") for runtime in known):
        return []
    return [_make_row(side, instead) for side, instead in served]


def _originals(report_json: dict[str, Any]) -> list[dict[str, Any]]:
    """The original in every runtime that served it: at home first."""
    reference = report_json["reference"]
    return [reference, *(reference.get("elsewhere") or ())] if reference else []


def _make_row(side: Mapping[str, Any], instead: str) -> dict[str, str]:
    runtime = side.get("runtime") or {}
    return {
        "artifact": escape_line(str(side.get("id") or "")),
        "runtime": name_runtime(runtime),
        "device": _join(runtime, "device"),
        "kernel": _join(runtime, "kernel"),
        "why": _join(runtime, "reason") or instead,
    }


def _choose_titles(rows: Sequence[Mapping[str, str]]) -> list[str]:
    return [title for title in _SHORTEST if any(row.get(title) for row in rows)]


def _fit(rows: Sequence[Mapping[str, str]], width: int) -> dict[str, int]:
    """Widths of the columns: the widest gives way first, down to what tells something."""
    columns = {
        title: max(count_cells(title), *(count_cells(row[title]) for row in rows))
        for title in _choose_titles(rows)
    }
    shortest = {title: min(columns[title], _SHORTEST[title]) for title in columns}
    for title in _FIRST_TO_GO:
        if _add_up(shortest) > width:
            shortest.pop(title, None)
    columns = {title: columns[title] for title in shortest}
    while _add_up(columns) > width:
        spare = {title: columns[title] for title in columns if columns[title] > shortest[title]}
        if not spare:
            break
        columns[max(spare, key=lambda title: spare[title])] -= 1
    return columns


def _add_up(columns: Mapping[str, int]) -> int:
    return sum(columns.values()) + len(GAP) * (len(columns) - 1)


def _render(row: Mapping[str, str], columns: Mapping[str, int]) -> str:
    cells = (
        pad(cut_middle(row.get(title) or ABSENT, width), width) for title, width in columns.items()
    )
    return GAP.join(cells).rstrip()


def _describe_differences(report_json: dict[str, Any]) -> Iterator[str]:
    artifacts, reference = report_json["artifacts"], report_json["reference"]
    pairs: dict[tuple[str, str], list[str]] = {}
    unjudged: list[str] = []
    for artifact in artifacts:
        own, other = _name(artifact), _name_compared(artifact, reference)
        if own and other and own != other:
            pairs.setdefault((own, other), []).append(escape_line(artifact["id"]))
            if _has_unjudged(artifact) and not _is_stand_in(artifact):
                unjudged.append(escape_line(artifact["id"]))
    for (own, other), ids in pairs.items():
        yield f"differences of runtimes are included: {', '.join(ids)} ({own} against {other})"
    yield from _describe_original_elsewhere(report_json)
    if unjudged:
        yield (
            f"the original in another runtime: times and memory of {', '.join(unjudged)} against"
            " it are shown, not judged"
        )
    if ids := [escape_line(one["id"]) for one in artifacts if _is_stand_in(one)]:
        yield f"a CPU in place of a GPU: times and memory of {', '.join(ids)} are shown, not judged"


def _is_stand_in(artifact: Mapping[str, Any]) -> bool:
    """Whether rows of it have no limit because of where they were measured."""
    on_cpu = (artifact.get("runtime") or {}).get("device") == "cpu"
    return on_cpu and artifact.get("format") == "hf" and _has_unjudged(artifact)


def _has_unjudged(artifact: Mapping[str, Any]) -> bool:
    return any(map(_is_unjudged, artifact["checks"]))


def _is_unjudged(check: Mapping[str, Any]) -> bool:
    is_of_serving = area_of(check["name"]) in ("latency", "memory")
    return is_of_serving and check["value"] is not None and check["limit"] is None


def _describe_original_elsewhere(report_json: dict[str, Any]) -> Iterator[str]:
    """What the runtimes differ by on their own: the same weights and tokens in two of them."""
    home = _name(report_json["reference"])
    for side in _originals(report_json)[1:]:
        found = side.get("runtime_difference")
        if found:
            ends = ", ".join(f"{found[end]:.5f}" for end in ("low", "high"))
            text = f"the original's perplexity in {_name(side)} is {found['value']:.5f} [{ends}]"
            yield f"{text} times that in {home}"


def _name(side: Mapping[str, Any]) -> str:
    return _join(side.get("runtime") or {}, "name")


def _name_compared(artifact: Mapping[str, Any], reference: Mapping[str, Any]) -> str:
    compared = artifact.get("compared_with") or {}
    return _join(compared, "runtime") or _name(reference)
