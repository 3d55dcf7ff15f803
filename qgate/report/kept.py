"""What of an artifact was not measured in this run but in an earlier one, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.report.text import escape_line

if TYPE_CHECKING:
    from qgate.records import ArtifactReport

_KINDS = ("likelihoods", "answers")


def describe_kept(artifact: ArtifactReport) -> str:
    """`likelihoods and answers from the store, measured 2026-11-29`; empty where all is new."""
    said = artifact.from_store
    counts = {kind: said[kind] for kind in _KINDS if kind in said}
    kept = {kind: count for kind, count in counts.items() if count["from_store"]}
    if not kept:
        return ""
    names = [
        kind if count["from_store"] == count["asked"] else f"part of the {kind}"
        for kind, count in kept.items()
    ]
    day = escape_line(str(said.get("measured_at") or ""))[:10]
    return f"{' and '.join(names)} from the store" + (f", measured {day}" if day else "")
