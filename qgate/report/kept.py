"""What of an artifact was not measured in this run but in an earlier one, in a few words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.report.evidence import FromStore
from qgate.report.text import escape_line
from qgate.untrusted.json import Fields

if TYPE_CHECKING:
    from qgate.records import ArtifactReport


def describe_kept(artifact: ArtifactReport) -> str:
    """`likelihoods and answers from the store, measured 2026-11-29`; empty where all is new."""
    known = Fields(artifact.from_store, artifact.id, UsageError).read(FromStore)
    kinds = (("likelihoods", known.likelihoods), ("answers", known.answers))
    names = [
        kind if count.from_store == count.asked else f"part of the {kind}"
        for kind, count in kinds
        if count and count.from_store
    ]
    day = escape_line(known.measured_at)[:10]
    when = f", measured {day}" if day else ""
    return f"{' and '.join(names)} from the store{when}" if names else ""
