"""What the fixtures do, without pytest: artifact, reference, limits → records.

Measuring (`measure_divergence`), judging (`judge_row`) and the account of what a run expected and
got (`Ledger`) are separate; nothing here decides how a row is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.records import (
    Artifact,
    ArtifactReport,
    Estimate,
    Limit,
    Record,
    Report,
    RuntimeFacts,
    Verdict,
)
from qgate.verdict import explain, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qgate.measure.perplexity import Samples
    from qgate.reference import Reference
    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """An artifact's samples, with what the report tells about getting them."""

    samples: Samples
    runtime: RuntimeFacts
    seconds: float
    decode_seconds: float

    def to_json(self) -> dict[str, float]:
        count = len(self.samples.nll_nats)
        return {
            "scoring_s": round(self.seconds, 3),
            "decode_s": round(self.decode_seconds, 3),
            "scored_tokens": float(count),
            "compared_positions": float(len(self.samples.kl_nats)),
        }


class Serving:
    """One artifact in its one child process, started on first use."""

    def __init__(self, artifact: Artifact, start: Callable[[], Host]) -> None:
        self.artifact = artifact
        self._start = start
        self._host: Host | None = None

    @property
    def host(self) -> Host:
        if self._host is None:
            self._host = self._start()
        return self._host

    def describe(self) -> RuntimeFacts:
        return RuntimeFacts(**self.host.call("describe"))

    def load(self, window_tokens: int, threads: int | None) -> ModelFacts:
        from qgate.runtimes.base import ModelFacts

        path = str(self.artifact.path.absolute())
        loaded = self.host.call("load", path=path, window_tokens=window_tokens, threads=threads)
        return ModelFacts(**loaded)

    def close(self) -> None:
        if self._host is not None:
            self._host.close()
            self._host = None


def measure_divergence(
    serving: Serving, reference: Reference, threads: int | None = None
) -> Measured:
    """Score the reference's windows with the artifact, paired with the stored original.

    Raises:
        QGateError: the artifact does not fit, or the runtime lost something.
    """
    from qgate.measure.perplexity import Samples
    from qgate.reference import require_same_vocabulary, score_arguments
    from qgate.runtimes.scoring import window_digests

    windows = reference.windows
    facts = serving.load(int(windows.ids.shape[1]), threads)
    require_same_vocabulary(serving.artifact, facts, reference)
    scored = serving.host.call("score", **score_arguments(reference))
    if scored["digests"] != window_digests(windows.ids):
        raise MeasurementError(
            f"{serving.artifact.id}: the runtime scored other tokens than the reference's:"
            f" got {len(scored['digests'])} windows; expected the {len(windows.ids)} that were sent"
        )
    samples = Samples(
        nll_nats=scored["nll_nats"],
        reference_nll_nats=reference.nll_nats,
        clusters=windows.clusters.reshape(-1),
        kl_nats=scored["kl_nats"],
        same_top=scored["same_top"],
        compared=reference.compared,
        scored_per_window=windows.clusters.shape[1],
    )
    return Measured(
        samples=samples,
        runtime=serving.describe(),
        seconds=scored["total_s"],
        decode_seconds=scored["decode_s"],
    )


def judge_row(
    name: str, limit: Limit | None, estimate: Callable[[float], Estimate], details: dict[str, Any]
) -> Record:
    """One record: the estimate at the limit's level, and the verdict on it.

    Args:
        name: the check.
        limit: None where no file sets one: the row is shown and not judged.
        estimate: level -> estimate.
        details: what the report keeps beside the number.
    """
    if limit is None:
        return Record(
            name=name,
            verdict=Verdict.SKIPPED,
            message=f"{name}: measured, but no limit applies to it",
            estimate=estimate(0.95),
            details=details,
        )
    found = estimate(limit.level)
    verdict = judge(found, limit)
    return Record(
        name=name,
        verdict=verdict,
        message=explain(name, found, limit, verdict),
        estimate=found,
        limit=limit,
        details=details,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of an artifact beside its rows."""

    digest: str | None = None
    runtime: RuntimeFacts | None = None
    measured: Mapping[str, float] | None = None


class Ledger:
    """The account of a run: every row that was expected, and what became of it."""

    def __init__(self, artifacts: Iterable[Artifact]) -> None:
        self._artifacts = {artifact.id: artifact for artifact in artifacts}
        self._expected: dict[str, list[str]] = {name: [] for name in self._artifacts}
        self._records: dict[str, dict[str, Record]] = {name: {} for name in self._artifacts}
        self._subjects: dict[str, Subject] = {}
        self.reference: dict[str, Any] = {}

    def expect(self, artifact_id: str, check: str) -> None:
        if check not in self._expected[artifact_id]:
            self._expected[artifact_id].append(check)

    def enter(self, artifact_id: str, record: Record, subject: Subject | None = None) -> None:
        self.expect(artifact_id, record.name)
        self._records[artifact_id][record.name] = record
        if subject is not None:
            self._subjects[artifact_id] = subject

    def missing(self) -> list[tuple[str, str]]:
        """(artifact, check) of every expected row without a record."""
        return [
            (name, check)
            for name, checks in self._expected.items()
            for check in checks
            if check not in self._records[name]
        ]

    def skipped(self) -> list[tuple[str, str]]:
        """(artifact, check) of rows that have a limit and were skipped all the same."""
        return [
            (name, record.name)
            for name, records in self._records.items()
            for record in records.values()
            if record.verdict is Verdict.SKIPPED and record.estimate is None
        ]

    def report(self, environment: dict[str, Any], thresholds: dict[str, Any]) -> Report:
        artifacts = tuple(self._artifact_report(name) for name in self._artifacts)
        return Report(
            verdict=overall(artifact.verdict for artifact in artifacts),
            environment=environment,
            reference=self.reference,
            artifacts=artifacts,
            thresholds=thresholds,
        )

    def _artifact_report(self, name: str) -> ArtifactReport:
        records = self._records[name]
        lost = [_not_reached(check) for check in self._expected[name] if check not in records]
        rows = [*records.values(), *lost]
        subject = self._subjects.get(name, Subject())
        judged = [row.verdict for row in rows if row.verdict is not Verdict.SKIPPED]
        return ArtifactReport(
            artifact=self._artifacts[name],
            verdict=overall(judged),
            records=tuple(rows),
            digest=subject.digest,
            runtime=subject.runtime,
            measured=dict(subject.measured or {}),
        )


def _not_reached(check: str) -> Record:
    return Record(
        name=check,
        verdict=Verdict.INCOMPLETE,
        message=f"{check}: not measured in this run: deselected, or the run ended before it",
    )


_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCOMPLETE, Verdict.INCONCLUSIVE)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over several; nothing judged is never a pass."""
    seen = list(verdicts)
    for verdict in _WORST_FIRST:
        if verdict in seen:
            return verdict
    return Verdict.PASS if Verdict.PASS in seen else Verdict.INCOMPLETE
