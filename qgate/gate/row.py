"""What the fixtures do, without pytest: samples and limits → records.

Judging (`judge_row`) and the account of what a run expected and got (`Ledger`) are separate;
nothing here measures, and nothing decides how a row is shown.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping  # noqa: TC003 - fields are read by their types
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from qgate.checks import line_of
from qgate.measure.measurement import Comparison
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
from qgate.verdict import adjust, explain, judge, judge_family, would_have_seen
from qgate.verdict.increase import settle
from qgate.verdict.multiplicity import is_in_family
from qgate.verdict.vacuous import require_non_vacuous

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from qgate.checks import Check
    from qgate.measure.measurement import Estimates, Measurement

_ERROR = 0.05
"""That an undamaged artifact sets off any alarm of the family, at the usual level."""


def judge_row(
    row: str | Check, limit: Limit | None, measured: Measurement, family: int = 1
) -> Record:
    """One record: the estimate at the limit's level, and the verdict on it.

    Without a limit, or with one of another text, the row is shown and not judged.

    Args:
        row: which; by its name one of qgate's.
        limit: of the row.
        measured: its samples.
        family: how many alarms on the artifact share one error (`qgate.verdict.multiplicity`).

    Raises:
        MeasurementError: the samples do not carry an estimate.
        NotApplicable: nothing could fail the limit.
    """
    name = row if isinstance(row, str) else row.name
    level, parameters = (limit.level, limit.parameters) if limit else (0.95, {})
    found, details = measured.estimate(name, level, parameters), measured.details(name)
    members = None if isinstance(found, Estimate) else found
    if members is not None:
        details = {**details, "members": {key: _ends(one) for key, one in members.items()}}
    judged, said = settle(name, limit, details)
    if judged is None:
        return _shown(name, found, details, said)
    limit = judged
    member = None
    if isinstance(found, Estimate):
        details = {**details, **_of_family(found, limit, family, details)}
        found = adjust(found, limit, family)
        verdict = judge(found, limit)
        if verdict is Verdict.PASS:
            _require_non_vacuous(limit, measured, family, details)
    else:
        member, verdict = judge_family(found, limit)
        found, details = found[member], {**details, "member": member}
    details = {**details, **_blind_below(found, limit, verdict, details)}
    count, of, asked = len(members or ()), details.get("family", 1), details.get("windows", 0)
    message = explain(row, found, limit, verdict, member, count, of, asked)
    message = f"{message}; {said}" if said else message
    return Record(
        name=name, verdict=verdict, message=message, estimate=found, limit=limit, details=details
    )


def leave_to_leader(record: Record, leader: Record | None) -> Record:
    """The record of an undecided row whose leading row FAILs: its value is shown, not judged.

    More text for it would change nothing: the artifact fails by the leading row. Without that
    row's FAIL in this run the record stays as it is.

    Args:
        record: of a row that may have a leader (`qgate.checks.Check.leader`).
        leader: the leading row's record of the same artifact; None: not judged in this run.
    """
    is_open = record.verdict is Verdict.INCONCLUSIVE
    if not is_open or leader is None or leader.verdict is not Verdict.FAIL:
        return record
    observed = record.message.removeprefix("inconclusive: ").rpartition("; ")[0]
    said = f"not decided: the artifact fails by {leader.name}, on the same text"
    return dataclasses.replace(
        record,
        verdict=Verdict.SKIPPED,
        message=f"{observed}; {said}",
        details={**record.details, "not_judged": said},
    )


def _of_family(
    found: Estimate, limit: Limit, family: int, details: Mapping[str, Any]
) -> dict[str, Any]:
    """What the report tells of a row whose p-value is corrected for several alarms."""
    if family == 1 or found.p_value is None or not is_in_family(limit):
        return {}
    if "detectable_drop" not in details:
        return {"family": family}
    from qgate.measure.tasks.paired_binary import detectable_drop  # numpy: not for collecting

    # what flips without damage flips both ways
    flips = 2 * min(details["lost"], details["gained"])
    return {"family": family, "detectable_drop": detectable_drop(found.n, flips, _ERROR / family)}


def _shown(name: str, found: Estimate | Estimates, details: dict[str, Any], said: str) -> Record:
    """A row without a limit, or with one that is not for it."""
    return Record(
        name=name,
        verdict=Verdict.SKIPPED,
        message=f"{name}: {said or 'measured, but no limit applies to it'}",
        estimate=found if isinstance(found, Estimate) else next(iter(found.values())),
        details={**details, "not_judged": said} if said else details,
    )


def _blind_below(
    found: Estimate, limit: Limit, verdict: Verdict, details: Mapping[str, Any]
) -> dict[str, str]:
    """Of an alarm that stayed silent, the smallest damage that it would have seen."""
    if verdict is not Verdict.PASS:
        return {}
    if details.get("detectable_drop", 0.0) is None:
        return {"would_have_seen": "nothing for sure, of so few answers"}
    seen = would_have_seen(
        found,
        limit,
        family=details.get("family", 1),
        detectable=details.get("detectable_drop") or 0.0,
    )
    return {"would_have_seen": seen} if seen else {}


def _require_non_vacuous(
    limit: Limit, measured: Measurement, family: int, details: dict[str, Any]
) -> None:
    if not isinstance(measured, Comparison) or measured.min_reference is not None:
        return
    worst = measured.worst(limit.check, limit.level, limit.parameters)
    if worst is not None:
        require_non_vacuous(worst, limit, family, details)


def _ends(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "n": estimate.n}


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """An estimate that somebody else made: a team's own row."""

    found: Estimate

    def estimate(self, check: str, level: float, parameters: Mapping[str, float]) -> Estimate:
        return self.found

    def details(self, check: str) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is known of an artifact beside its rows."""

    digest: str | None = None
    runtime: RuntimeFacts | None = None
    compared_with: Mapping[str, str] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    from_store: Mapping[str, Any] = field(default_factory=dict)
    reference: Mapping[str, Any] = field(default_factory=dict)
    """The report's `reference` section, as far as it is known by now: JSON values."""
    notes: tuple[str, ...] = ()
    """Lines for the end of the run."""


def identify(reference: Artifact) -> dict[str, Any]:
    """The report's `reference` section as far as it is known of its files."""
    return {
        "id": reference.id,
        "path": str(reference.path),
        "scheme": reference.scheme,
        "size_bytes": reference.size_bytes,
    }


class Ledger:
    """The account of a run: every row that was expected, and what became of it."""

    def __init__(self, artifacts: Iterable[Artifact], reference: Artifact | None = None) -> None:
        self._artifacts = {artifact.id: artifact for artifact in artifacts}
        self._expected: dict[str, list[str]] = {name: [] for name in self._artifacts}
        self._records: dict[str, dict[str, Record]] = {name: {} for name in self._artifacts}
        self._of_tests: dict[tuple[str, str], dict[str, Record]] = {}
        self._subjects: dict[str, Subject] = {}
        self.reference = {} if reference is None else identify(reference)

    def expect(self, artifact_id: str, check: str) -> None:
        if check not in self._expected[artifact_id]:
            self._expected[artifact_id].append(check)

    def enter(
        self, artifact_id: str, record: Record, subject: Subject | None = None, test: str = ""
    ) -> None:
        """Note what became of a row: of several tests' records the worst, of a test's its last.

        Args:
            artifact_id: that it is about.
            record: of the row.
            subject: what else is known by now.
            test: the test's id; a rerun has the same.
        """
        of_tests = self._of_tests.setdefault((artifact_id, record.name), {})
        of_tests[test] = record
        worst = min(of_tests.values(), key=lambda one: _ROWS_WORST_FIRST.index(one.verdict))
        self._records[artifact_id][record.name] = worst
        if subject is not None:
            self._subjects[artifact_id] = subject
            self.reference = {**self.reference, **subject.reference}

    def record_of(self, artifact_id: str, check: str) -> Record | None:
        """What became of a row; None where it was not judged yet."""
        return self._records[artifact_id].get(check)

    def digest(self, artifact_id: str) -> str | None:
        """The digest that the report holds of an artifact; None where it is not known."""
        return self._subjects.get(artifact_id, Subject()).digest

    def disbelieve(self, artifact_id: str, reason: str, *, but: Collection[str] = ()) -> bool:
        """Make an ERROR of every row that was entered, judged or not.

        Args:
            artifact_id: whose rows.
            reason: why none of them can be believed.
            but: rows that stay.

        Returns:
            Whether there was one.
        """
        records = self._records[artifact_id]
        lost = [check for check in records if check not in but]
        for check in lost:
            message = f"{check}: {reason}"
            records[check] = Record(name=check, verdict=Verdict.ERROR, message=message)
        return bool(lost)

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
            if record.verdict is Verdict.SKIPPED
            and record.estimate is None
            and record.name in self._expected[name]
        ]

    def report(self, environment: dict[str, Any], thresholds: dict[str, Any]) -> Report:
        artifacts = tuple(self._artifact_report(name) for name in self._artifacts)
        every = [record for records in self._records.values() for record in records.values()]
        reference = self.reference
        if reference:
            known = _accuracy(every, "reference_share")
            reference = {**reference, "measured": {**reference.get("measured", {}), **known}}
        return Report(
            verdict=overall(artifact.verdict for artifact in artifacts),
            environment=environment,
            reference=reference,
            artifacts=artifacts,
            thresholds=thresholds,
        )

    def _artifact_report(self, name: str) -> ArtifactReport:
        records = self._records[name]
        lost = [_not_reached(check) for check in self._expected[name] if check not in records]
        rows = sorted([*records.values(), *lost], key=lambda row: line_of(row.name))
        subject = self._subjects.get(name, Subject())
        judged = [row.verdict for row in rows if row.verdict is not Verdict.SKIPPED]
        artifact = self._artifacts[name]
        return ArtifactReport(
            id=artifact.id,
            path=str(artifact.path),
            format=artifact.format,
            scheme=artifact.scheme,
            quantization=artifact.quantization,
            bits=artifact.bits,
            size_bytes=artifact.size_bytes,
            digest=subject.digest,
            runtime=subject.runtime,
            compared_with=subject.compared_with,
            verdict=overall(judged),
            measured={**subject.measured, **_accuracy(records.values())},
            from_store=subject.from_store,
            records=tuple(rows),
        )


def _accuracy(records: Iterable[Record], share: str = "share") -> dict[str, float]:
    """Mean share of right answers over the tasks that were measured, if any."""
    shares = [
        float(record.details[share])
        for record in records
        if record.name.startswith("accuracy.") and share in record.details
    ]
    return {"accuracy": sum(shares) / len(shares)} if shares else {}


def _not_reached(check: str) -> Record:
    return Record(
        name=check,
        verdict=Verdict.INCOMPLETE,
        message=f"{check}: not measured in this run: deselected, or the run ended before it",
    )


_WORST_FIRST = (Verdict.ERROR, Verdict.FAIL, Verdict.INCOMPLETE, Verdict.INCONCLUSIVE)
_ROWS_WORST_FIRST = (*_WORST_FIRST, Verdict.SKIPPED, Verdict.PASS)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """The verdict over several; nothing judged is never a pass."""
    seen = list(verdicts)
    for verdict in _WORST_FIRST:
        if verdict in seen:
            return verdict
    return Verdict.PASS if Verdict.PASS in seen else Verdict.INCOMPLETE
