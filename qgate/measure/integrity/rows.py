"""Integrity rows: what an artifact's own files say, held against the reference's files.

Of tokenizers of different formats, also what both runtimes make of the same texts.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.shards import read_set
from qgate.artifacts.tokenizer.comparison import PARTS, tokenizer_of
from qgate.measure.integrity import gguf as integrity
from qgate.measure.integrity import hf as integrity_hf
from qgate.records import Record, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.measure.measurement import Finding
    from qgate.records import Artifact

_HF: Mapping[str, Callable[[Artifact], Finding]] = MappingProxyType(
    {
        "integrity.files": integrity_hf.check_files,
        "integrity.scheme": integrity_hf.check_scheme,
        "integrity.weights": integrity_hf.check_weights,
    }
)
OF_OWN_FILES = tuple(_HF)
"""Rows that look at the artifact's files alone, of any format; others read the reference."""


def find(
    check: str,
    artifact: Artifact,
    reference: Callable[[], Artifact],
    differing_ids: Callable[[], str],
) -> Finding:
    """What an integrity row finds.

    Args:
        check: the row.
        artifact: what is looked at.
        reference: what it is held against.
        differing_ids: has both sides' runtimes encode the same texts, and names the first whose ids
            differ; empty where none does. Called where the two are of different formats.

    Raises:
        QGateError: a header cannot be read, there is no reference to compare with, the files do
            not say enough, or a runtime cannot be asked.
    """
    for part in PARTS:
        if check == f"integrity.{part}":
            found = integrity.compare_part(part, tokenizer_of(artifact), tokenizer_of(reference()))
            is_by_ids = part == "tokenizer" and artifact.format != reference().format
            return integrity.by_ids(found, differing_ids()) if found.holds and is_by_ids else found
    if artifact.format == "hf":
        return _HF[check](artifact)
    if check == "integrity.files":
        return integrity.check_files(artifact)
    headers = tuple(read_set(artifact.files))
    if check == "integrity.scheme":
        return integrity.check_scheme(headers)
    return integrity.check_weights(headers)


def finding_record(finding: Finding) -> Record:
    """A row that holds or not, without a number."""
    return Record(
        name=finding.check,
        verdict=Verdict.PASS if finding.holds else Verdict.FAIL,
        message=finding.message,
        details=finding.details,
    )
