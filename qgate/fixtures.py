"""What a check is written with: `artifact`, `reference`, `gate`, and the measurements.

The shipped checklist uses these, and so does a team's own check in its own repository. Measuring
happens in session fixtures, once an artifact, before the first row that needs it: order, `-k` and
`--lf` never change a number. What could not be measured is an ERROR on each row that needs it.
"""

from __future__ import annotations

import dataclasses
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import QGateError, RuntimeFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qgate.gate import Measured, Serving
    from qgate.measure.integrity import Finding
    from qgate.records import Artifact, Estimate, Record
    from qgate.reference import Reference
    from qgate.session import GateSession


def _session(config: pytest.Config) -> GateSession:
    session = config.pluginmanager.getplugin("qgate-session")
    if session is None:
        pytest.skip("no artifact to gate: run pytest with --qgate=PATH")
    gate_session: GateSession = session
    return gate_session


def takes_artifact(metafunc: pytest.Metafunc) -> bool:
    """Whether a test asks for our `artifact`: a project's own fixture of that name wins."""
    private: Any = metafunc
    known = private._arg2fixturedefs.get("artifact")
    return bool(known) and known[-1].func.__module__ == __name__


@contextmanager
def _measuring(subject: str) -> Iterator[None]:
    """Turn qgate's errors into one line; the child's last words become a section of the report."""
    try:
        yield
    except QGateError as error:
        text = str(error)
        line = text if text.startswith(subject) else f"{subject}: {text}"
        failure = pytest.fail.Exception(line, pytrace=False)
        if isinstance(error, RuntimeFailed) and error.last_words:
            failure.add_note(error.last_words)
        raise failure from None


@pytest.fixture(scope="session")
def artifact(request: pytest.FixtureRequest) -> Artifact:
    """The thing under test; one run of all rows for each."""
    _session(request.config)
    found: Artifact = request.param
    if found.problem:
        pytest.fail(f"{found.id}: {found.problem}", pytrace=False)
    return found


@pytest.fixture(scope="session")
def reference(artifact: Artifact, request: pytest.FixtureRequest) -> Reference:
    """The original's measurements, from the store or measured now."""
    with _measuring(artifact.id):
        return _session(request.config).bench.reference_for(artifact)


@pytest.fixture(scope="session")
def serving(artifact: Artifact, request: pytest.FixtureRequest) -> Iterator[Serving]:
    """The artifact in its one child process; started when first used, ended after its last row."""
    child = _session(request.config).bench.serve(artifact)
    yield child
    child.close()


@pytest.fixture(scope="session")
def perplexity_samples(
    serving: Serving, reference: Reference, request: pytest.FixtureRequest
) -> Measured:
    """Likelihoods and divergences of every scored token, artifact and original paired."""
    with _measuring(serving.artifact.id):
        return _session(request.config).bench.measure(serving, reference)


@pytest.fixture
def finding(artifact: Artifact, request: pytest.FixtureRequest) -> Finding:
    """What the artifact's own files say about this test's row."""
    with _measuring(artifact.id):
        return _session(request.config).bench.find(_check_of(request.node), artifact)


def _check_of(item: pytest.Item) -> str:
    """The row's public name, from the test's `qgate` mark."""
    mark = item.get_closest_marker("qgate")
    if mark is None or not mark.args:
        raise pytest.UsageError(
            f"{item.nodeid}: no name for this row. Mark the test: @pytest.mark.qgate('area.name')"
        )
    return str(mark.args[0])


@dataclasses.dataclass(frozen=True, slots=True)
class Gate:
    """Judges one row of one artifact and ends its test accordingly."""

    session: GateSession
    artifact: Artifact
    item: pytest.Item

    def hold(self, measured: Measured, reference: Reference) -> None:
        """Hold this row of the shipped checklist to its limit."""
        from qgate.bench import divergence_record

        check = _check_of(self.item)
        limit = self.session.limits(self.artifact).get(check)
        with _measuring(self.artifact.id):
            record = divergence_record(check, limit, measured)
        subject = self.session.bench.subject(self.artifact, measured, reference)
        self._conclude(record, subject)

    def find(self, finding: Finding) -> None:
        """Pass or fail by a finding that has no number."""
        from qgate.bench import finding_record

        self._conclude(finding_record(finding), None)

    def judge(
        self, estimate: Estimate, *, max: float | None = None, min: float | None = None
    ) -> None:
        """Hold a team's own estimate to a bound that the test itself states."""
        from qgate.gate import judge_row
        from qgate.records import Limit, SourceLine

        path, line, _ = self.item.location
        check = _check_of(self.item)
        limit = Limit(
            check=check,
            rule="certify",
            min=min,
            max=max,
            level=estimate.level,
            source=SourceLine(path, (line or 0) + 1),
        )
        self._conclude(judge_row(check, limit, lambda _: estimate, {}), None)

    def _conclude(self, record: Record, subject: dict[str, Any] | None) -> None:
        from qgate.records import Verdict
        from qgate.results import attach

        attach(self.item, self.artifact.id, record, subject)
        if record.verdict is Verdict.SKIPPED:
            pytest.skip(record.message)
        if record.verdict is not Verdict.PASS:
            pytest.fail(record.message, pytrace=False)


@pytest.fixture
def gate(artifact: Artifact, request: pytest.FixtureRequest) -> Gate:
    """Holds this test's row to its limit."""
    return Gate(session=_session(request.config), artifact=artifact, item=request.node)
