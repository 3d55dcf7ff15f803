"""What a check is written with: `artifact`, `model`, `gate`, and the measurements.

The shipped checklist uses these, and so does a team's own check in its own repository. Measuring
happens in session fixtures, once an artifact, before the first row that needs it: order, `-k` and
`--lf` never change a number. What could not be measured is an ERROR on each row that needs it.

A project's own fixture of such a name wins where its test module or `conftest.py` defines it. Of
those of its `pytest_plugins` only `model` and `reference_model` do, which no shipped row asks for:
with another `artifact` the checklist would measure something else.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from qgate.checks import area_of, find_check
from qgate.errors import MeasurementError, QGateError, RuntimeFailed, with_subject
from qgate.plugin.rows import check_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.measure.latency.rows import LatencySamples
    from qgate.measure.measurement import Finding, Measurement
    from qgate.measure.memory.rows import MemorySamples
    from qgate.measure.perplexity.divergence import Divergence
    from qgate.plugin.session import GateSession
    from qgate.records import Artifact, Estimate, Limit, Record, SourceLine
    from qgate.reference.distributions import Reference
    from qgate.runtimes.served_model import ServedModel


def session_of(config: pytest.Config) -> GateSession:
    """The object of the gated run."""
    session: GateSession = config.pluginmanager.getplugin("qgate-session")
    return session


def takes_task(metafunc: pytest.Metafunc) -> bool:
    """Whether a test is one of the checklist's, a row for each task."""
    return "task" in metafunc.fixturenames and _is_ours(metafunc, "task")


def takes_artifact(metafunc: pytest.Metafunc) -> bool:
    """Whether a test asks for our `artifact`: a project's own fixture of that name wins."""
    return _is_ours(metafunc, "artifact")


def _is_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    private: Any = metafunc
    known = private._arg2fixturedefs.get(name)
    return bool(known) and known[-1].func.__module__ == __name__


@contextmanager
def measuring(subject: str, limit: Limit | None = None) -> Iterator[None]:
    """Turn qgate's errors into one line; the child's last words become a section of the report.

    Args:
        subject: what messages begin with.
        limit: of the row; whether one that says nothing about this model is skipped depends on it.
    """
    try:
        yield
    except QGateError as error:
        from qgate.verdict.vacuous import is_skipped, with_limit

        if is_skipped(error, limit):
            raise pytest.skip.Exception(str(error)) from None
        line = str(with_subject(with_limit(error, limit), subject))
        failure = pytest.fail.Exception(line, pytrace=False)
        if isinstance(error, RuntimeFailed) and error.last_words:
            failure.add_note(error.last_words)
        raise failure from None


@pytest.fixture(scope="session")
def artifact(request: pytest.FixtureRequest) -> Artifact:
    """The thing under test; one run of all rows for each."""
    session_of(request.config)
    found: Artifact = request.param
    if found.problem:
        pytest.fail(f"{found.id}: {found.problem}", pytrace=False)
    return found


@pytest.fixture
def task(request: pytest.FixtureRequest) -> str:
    """The name of a task that the thresholds file names; one row of accuracy each."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def serving(artifact: Artifact, request: pytest.FixtureRequest) -> Iterator[ServedModel]:
    """The artifact in its one child process; started when first used, ended after its last row."""
    session = session_of(request.config)
    with measuring(artifact.id):
        child = session.measurer.children.serve(artifact)
    if not session.is_worker:
        session.measurer.begin(child, session.areas_of(artifact))
    yield child
    child.close()
    session.clock.close(artifact.id)


@pytest.fixture(scope="session")
def reference(serving: ServedModel, request: pytest.FixtureRequest) -> Reference:
    """The reference's likelihoods, from the store or measured now."""
    with measuring(serving.artifact.id):
        return session_of(request.config).measurer.reference(serving)


@pytest.fixture(scope="session")
def perplexity_samples(serving: ServedModel, request: pytest.FixtureRequest) -> Divergence:
    """Likelihoods and divergences of every scored token, artifact and reference paired."""
    with measuring(serving.artifact.id):
        return session_of(request.config).measurer.divergence(serving)


@pytest.fixture
def answers(serving: ServedModel, request: pytest.FixtureRequest) -> Measurement:
    """Both sides' answers behind this test's row of accuracy or edge cases."""
    session, check = session_of(request.config), check_of(request.node)
    limit = session.limits(serving.artifact).get(check)
    with measuring(serving.artifact.id, limit):
        return session.measurer.probe(serving, check)


@pytest.fixture
def latency_samples(serving: ServedModel, request: pytest.FixtureRequest) -> LatencySamples:
    """Requests to artifact and reference in turns, timed at their tokens."""
    with measuring(serving.artifact.id):
        _require_undisturbed(request, serving.artifact)
        return session_of(request.config).measurer.latency(serving)


@pytest.fixture
def memory_samples(serving: ServedModel, request: pytest.FixtureRequest) -> MemorySamples:
    """What serving the artifact takes, and what the reference takes."""
    with measuring(serving.artifact.id):
        _require_undisturbed(request, serving.artifact)
        return session_of(request.config).measurer.memory(serving)


def _require_undisturbed(request: pytest.FixtureRequest, artifact: Artifact) -> None:
    """Refuse what sharing the machine would falsify; skip what the runtime does not tell."""
    session, check = session_of(request.config), check_of(request.node)
    if area_of(check) in session.plan.of(artifact).unmeasured:
        pytest.skip(f"{check}: its runtime does not measure it")
    if session.is_worker:
        raise MeasurementError(
            f"{check}: refused under pytest-xdist: artifacts beside each other falsify it."
            " Run without -n, or leave it out with -m 'not latency and not memory'"
        )


@pytest.fixture
def finding(artifact: Artifact, request: pytest.FixtureRequest) -> Finding:
    """What the artifact's own files say about this test's row, and of a tokenizer its runtime."""
    from qgate.measure.integrity.rows import find

    session = session_of(request.config)

    def differing_ids() -> str:
        return session.measurer.differing_ids(request.getfixturevalue("serving"))

    with measuring(artifact.id):
        return find(check_of(request.node), artifact, session.plan.require_reference, differing_ids)


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """Judges one row of one artifact and ends its test accordingly."""

    session: GateSession
    artifact: Artifact
    item: pytest.Item

    def check(self, found: Measurement | Finding) -> None:
        """Hold this row of the shipped checklist to its limit; a finding holds or not by itself."""
        from qgate.gate.row import judge_row, leave_to_leader
        from qgate.measure.integrity.rows import finding_record
        from qgate.measure.measurement import Finding

        if isinstance(found, Finding):
            return self._conclude(finding_record(found))
        name, plan = check_of(self.item), self.session.plan.of(self.artifact)
        limit = plan.limits.get(name)
        with measuring(self.artifact.id, limit):
            record = judge_row(name, limit, found, plan.family)
        leader = self.session.ledger.record_of(self.artifact.id, find_check(name).leader)
        return self._conclude(leave_to_leader(record, leader))

    def judge(
        self, estimate: Estimate, *, max: float | None = None, min: float | None = None
    ) -> None:
        """Hold a team's own estimate to a bound, of the test itself or of the thresholds file.

        Args:
            estimate: what was found.
            max: the bound, where more is worse.
            min: the bound, where less is worse. Without any bound the limit is that of the
                thresholds file, which knows the row by its `Check`.
        """
        from qgate.gate.row import Exact, judge_row
        from qgate.records import Limit, SourceLine

        check, plan = check_of(self.item), self.session.plan.of(self.artifact)
        path, line, _ = self.item.location
        here = SourceLine(path, (line or 0) + 1)
        with measuring(self.artifact.id):
            self._require_one_limit(check, estimate, here, is_bound=(max, min) != (None, None))
            limit = plan.limits.get(check)
            if (max, min) != (None, None):
                limit = Limit(
                    check=check, rule="certify", min=min, max=max, level=estimate.level, source=here
                )
            row = self.session.plan.own_checks.get(check, check)
            record = judge_row(row, limit, Exact(found=estimate), plan.family)
        self._conclude(record)

    def _require_one_limit(
        self, check: str, estimate: Estimate, here: SourceLine, *, is_bound: bool
    ) -> None:
        """Refuse a row without a place for its limit, or with two; and a number of another unit."""
        known = self.session.plan.own_checks.get(check)
        written = self.session.limits(self.artifact).get(check)
        if known is None and not is_bound:
            raise MeasurementError(
                f"{check}: got no limit at {here}; expected gate.judge(..., max=...) or min=, or a"
                " Check of this name in qgate_checks, whose limit is in the thresholds file"
            )
        if is_bound and written is not None:
            raise MeasurementError(
                f"{check}: got a limit at {here} and at {written.source}; expected one of them."
                " Write gate.judge(estimate) without a bound"
            )
        if known is not None and estimate.unit != known.unit:
            raise MeasurementError(
                f"{check}: got an estimate in {estimate.unit!r}; expected {known.unit!r}, the unit"
                " of its Check"
            )

    def _conclude(self, record: Record) -> None:
        from qgate.plugin.transport import Row, attach
        from qgate.records import Verdict
        from qgate.report.worst_samples import show_worst

        served = self.session.measurer.children.is_served(self.artifact)
        subject = self.session.measurer.subject(self.artifact) if served else None
        attach(self.item, Row(artifact_id=self.artifact.id, record=record, subject=subject))
        if record.verdict is Verdict.SKIPPED:
            pytest.skip(record.message)
        if record.verdict is not Verdict.PASS:
            if samples := show_worst(record):
                self.item.add_report_section("call", "worst samples", samples)
            pytest.fail(record.message, pytrace=False)


@pytest.fixture
def gate(artifact: Artifact, request: pytest.FixtureRequest) -> Gate:
    """Holds this test's row to its limit."""
    return Gate(session=session_of(request.config), artifact=artifact, item=request.node)
