"""Integrity rows: what an artifact's own files say, held against the original's files."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate import runtimes
from qgate.artifacts.shards import read_set
from qgate.artifacts.tokenizer import tokenizer_of
from qgate.measure import integrity
from qgate.records import Record, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.artifacts.tokenizer import TokenizerFacts
    from qgate.measure.measurement import Finding
    from qgate.records import Artifact

_COMPARE: Mapping[str, Callable[[TokenizerFacts, TokenizerFacts], Finding]] = MappingProxyType(
    {
        "integrity.tokenizer": integrity.check_tokenizer,
        "integrity.special_tokens": integrity.check_special_tokens,
        "integrity.chat_template": integrity.check_chat_template,
    }
)


def find(check: str, artifact: Artifact, original: Callable[[], Artifact]) -> Finding:
    """What an integrity row finds.

    Raises:
        ArtifactError: a header cannot be read, or there is no reference to compare with.
        RuntimeUnavailable: nothing in this version serves the format.
    """
    runtimes.choose(artifact, override=None)  # whose files nothing serves, nothing here reads
    if check == "integrity.files":
        return integrity.check_files(artifact)
    if check == "integrity.scheme":
        return integrity.check_scheme(tuple(read_set(artifact.files)))
    if check == "integrity.weights":
        return integrity.check_weights(tuple(read_set(artifact.files)))
    return _COMPARE[check](tokenizer_of(artifact), tokenizer_of(original()))


def finding_record(finding: Finding) -> Record:
    """A row that holds or not, without a number."""
    return Record(
        name=finding.check,
        verdict=Verdict.PASS if finding.holds else Verdict.FAIL,
        message=finding.message,
        details=finding.details,
    )
