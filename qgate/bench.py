"""Where artifacts are put to be measured: which child serves them, against which reference.

One object a run, without pytest. It starts children, reads the reference store, and remembers what
it measured or why it could not, so that asking again costs nothing and says the same.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate import artifacts, errors, runtimes
from qgate.gate import Measured, Serving, judge_row, measure_divergence
from qgate.records import Artifact, Limit, Record, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from qgate.artifacts.gguf import GgufHeader
    from qgate.measure.integrity import Finding
    from qgate.reference import Reference
    from qgate.runtimes.host import Host, ProgressSink
    from qgate.thresholds import Thresholds

STORE = Path(".qgate") / "references"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a run was told, as far as measuring needs it."""

    thresholds: Thresholds
    original: Artifact | None
    runtime: str | None
    """Overrides the choice by format."""
    directory: Path
    progress: Callable[[str], AbstractContextManager[ProgressSink]]
    """progress(subject) shows what is reported to it while the block runs."""


class Bench:
    """Measures artifacts, one at a time."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._references: dict[str, Reference | errors.QGateError] = {}
        self._digests: dict[tuple[Path, ...], str] = {}

    def digest(self, artifact: Artifact) -> str:
        """`sha256:...` over its files, read once a run."""
        if artifact.files not in self._digests:
            self._digests[artifact.files] = artifacts.digest(artifact)
        return self._digests[artifact.files]

    def runtime_for(self, artifact: Artifact) -> str:
        named = self._setting.runtime or self._setting.thresholds.runtime.name
        return runtimes.choose(artifact, named)

    def serve(self, artifact: Artifact) -> Serving:
        """The artifact's one child; nothing starts before it is asked something."""
        return Serving(artifact, lambda: self._start(artifact, artifact.id))

    def _start(self, artifact: Artifact, subject: str) -> Host:
        from qgate.runtimes.host import Host, HostSettings

        wanted = self._setting.thresholds.runtime
        settings = HostSettings(runtime=self.runtime_for(artifact), stall_s=wanted.stall_s)
        if wanted.python is not None:
            settings = dataclasses.replace(settings, python=str(wanted.python))
        return Host(settings, lambda: self._setting.progress(subject))

    def reference_for(self, artifact: Artifact) -> Reference:
        """The original, measured in the runtime that serves the artifact.

        Raises:
            QGateError: there is none, or it could not be measured; the same each time.
        """
        runtime = self.runtime_for(artifact)
        if runtime not in self._references:
            try:
                self._references[runtime] = self._measure_reference()
            except errors.QGateError as error:
                self._references[runtime] = error
        known = self._references[runtime]
        if isinstance(known, errors.QGateError):
            raise known
        return known

    def _original(self) -> Artifact:
        original = self._setting.original
        if original is None:
            raise errors.ArtifactError(
                "no reference: no unquantized artifact in or beside the given paths."
                " Name one with --qgate-reference PATH"
            )
        return original

    def _measure_reference(self) -> Reference:
        from qgate.measure.texts import find_text
        from qgate.reference import Plan, ReferenceStore

        original, thresholds = self._original(), self._setting.thresholds
        plan = Plan(
            artifact=original,
            digest=self.digest(original),
            text=find_text(thresholds.text, self._setting.directory),
            settings=thresholds.text,
            threads=thresholds.runtime.threads,
        )
        store = ReferenceStore(self._setting.directory / STORE)
        subject = f"reference {original.id}"
        try:
            return store.get_or_measure(plan, lambda: self._start(original, subject))
        except errors.QGateError as error:
            raise errors.with_subject(error, subject) from error

    def measure(self, serving: Serving, reference: Reference) -> Measured:
        """Likelihoods and divergences of the artifact on the reference's tokens.

        Raises:
            QGateError: its tokens mean something else, or the runtime failed.
        """
        from qgate.artifacts.tokenizer import difference

        differs = difference(
            self._tokenizer(serving.artifact), self._tokenizer(reference.artifact), "tokenizer"
        )
        if differs is not None:
            raise errors.ArtifactError(
                f"{serving.artifact.id}: tokenizer differs from the reference's: {differs}."
                " Name the right original with --qgate-reference, or convert the model again"
            )
        return measure_divergence(serving, reference, self._setting.thresholds.runtime.threads)

    def find(self, check: str, artifact: Artifact) -> Finding:
        """What an integrity row finds in the artifact's own files.

        Raises:
            ArtifactError: a header cannot be read, or there is no reference to compare with.
            RuntimeUnavailable: nothing in this version serves the format.
        """
        from qgate.measure import integrity

        runtimes.choose(artifact, override=None)  # whose files nothing serves, nothing here reads
        if check == "integrity.files":
            return integrity.check_files(artifact)
        if check == "integrity.scheme":
            return integrity.check_scheme(self._headers(artifact))
        if check == "integrity.weights":
            return integrity.check_weights(self._headers(artifact))
        compare = {
            "integrity.tokenizer": integrity.check_tokenizer,
            "integrity.special_tokens": integrity.check_special_tokens,
            "integrity.chat_template": integrity.check_chat_template,
        }[check]
        return compare(self._tokenizer(artifact), self._tokenizer(self._original()))

    @staticmethod
    def _headers(artifact: Artifact) -> tuple[GgufHeader, ...]:
        from qgate.artifacts.shards import read_set

        return tuple(read_set(artifact.files))

    def _tokenizer(self, artifact: Artifact) -> Any:  # noqa: ANN401 - TokenizerFacts, imported late
        from qgate.artifacts.tokenizer import tokenizer_facts

        return tokenizer_facts(self._headers(artifact)[0])

    def subject(self, artifact: Artifact, measured: Measured, reference: Reference) -> Any:  # noqa: ANN401
        """What a record's report tells beside the row: JSON values."""
        return {
            "digest": self.digest(artifact),
            "runtime": dataclasses.asdict(measured.runtime),
            "measured": measured.to_json(),
            "reference": describe_reference(reference),
        }


def divergence_record(name: str, limit: Limit | None, measured: Measured) -> Record:
    """Judge one row of perplexity or divergence."""
    from qgate.measure.perplexity import ROWS, explain

    estimate = ROWS[name]
    samples = measured.samples
    return judge_row(
        name, limit, lambda level: estimate(samples, level=level), explain(name, samples)
    )


def finding_record(finding: Finding) -> Record:
    """A row that holds or not, without a number."""
    return Record(
        name=finding.check,
        verdict=Verdict.PASS if finding.holds else Verdict.FAIL,
        message=finding.message,
        details=finding.details,
    )


def describe_reference(reference: Reference) -> Mapping[str, Any]:
    """The report's `reference` section."""
    from qgate import stats
    from qgate.measure.texts import describe

    original = reference.artifact
    perplexity = stats.perplexity(
        reference.nll_nats, reference.windows.clusters.reshape(-1), level=0.95
    )
    return {
        "id": original.id,
        "path": str(original.path),
        "scheme": original.scheme,
        "size_bytes": original.size_bytes,
        "digest": reference.digest,
        "runtime": dataclasses.asdict(reference.runtime),
        "perplexity": {
            "value": perplexity.value,
            "low": perplexity.low,
            "high": perplexity.high,
            "level": perplexity.level,
            "n": perplexity.n,
        },
        "text": describe(reference.text, reference.windows),
        "store": reference.storage(),
        "scoring_s": round(reference.seconds, 3),
    }
