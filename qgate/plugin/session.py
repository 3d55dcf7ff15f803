"""The one plugin object of a gated run: hooks of a few lines that delegate.

It lives from `pytest_configure` to the end. In an xdist worker it only runs rows; results travel
on the reports, so that the controller keeps the account in either case.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from qgate import errors, runtimes
from qgate.artifacts.subjects import find_artifacts
from qgate.checks import area_of, own_checks
from qgate.gate.measurer import Bench
from qgate.gate.processes import Setting
from qgate.gate.progress import ProgressLine
from qgate.gate.row import Ledger
from qgate.gate.signals import interrupt_on_termination
from qgate.measure.tasks.task_list import TaskList
from qgate.planning.applicability import Applicable
from qgate.planning.clock import ModelWatch, RunClock
from qgate.planning.effort import cut, find_effort
from qgate.planning.feasibility import Feasibility
from qgate.planning.noise_floor import describe, find_floor
from qgate.plugin import fixtures, transport
from qgate.plugin.options import Options
from qgate.plugin.rootdir import choose_tests
from qgate.plugin.rows import is_wanted, mark_by_name, offer_benchmarks, row_of
from qgate.reference.store import require_usable
from qgate.report import provenance as environment
from qgate.thresholds import Thresholds, band_of, load_thresholds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.records import Artifact, Limit, Report

UPLOAD_DEADLINE_S = 90.0
"""A first upload makes the embedded store's tables, which takes several seconds."""


class GateSession:
    """What a run knows: options, artifacts, limits, and the ledger of its rows."""

    def __init__(self, config: pytest.Config, options: Options) -> None:
        self.config, self.options = config, options
        self.effort = find_effort(options.effort)
        self.own_checks = own_checks(options.checks)
        self.thresholds = self._load_thresholds()
        self.artifacts, self.reference_artifact = find_artifacts(
            options.paths, options.reference, trusts_code=options.trust_remote_code
        )
        self.clock = RunClock({})
        self.bench = Bench(
            Setting(
                thresholds=self.thresholds,
                original=self.reference_artifact,
                runtime=options.runtime,
                directory=options.directory,
                probes=self._find_probes,
                limits=self.limits,
                progress=self.progress,
                watch=lambda model: ModelWatch(self.clock, model),
                store=options.store,
                store_gib=options.store_gib,
            )
        )
        # a wrong file ends the run here, before anything is loaded
        self.tasks = TaskList(self.thresholds, self.reference_artifact)
        children = self.bench.children
        self.floor = find_floor(options.directory, self.reference_artifact, children.choose)
        self.feasibility = Feasibility(self.tasks.asked(), self.floor)
        self.applicable = Applicable(self.thresholds, children.choose, children.choose_for_original)
        self.applicable.require_measurable(self.artifacts)
        self._areas: dict[str, set[str]] = {}
        self.ledger = Ledger(self.artifacts)
        for artifact in self.artifacts:
            for check in self.limits(artifact):
                self.ledger.expect(artifact.id, check)
        self.environment: dict[str, Any] = {}
        if not self.is_silent:  # git is asked, which takes a while
            self.environment = environment.describe(os.environ, options.directory)
        self.notes: list[str] = []
        self.undo_signals: Callable[[], None] = lambda: None

    def _load_thresholds(self) -> Thresholds:
        options = self.options
        thresholds = load_thresholds(
            options.thresholds,
            options.directory,
            self.effort.over,
            runtimes.options(),
            self.own_checks,
        )
        for runtime, python in options.pythons.items():
            thresholds = thresholds.with_python(runtime, python)
        return thresholds

    def _find_probes(self) -> tuple[Probe, ...]:
        from qgate.measure.probes import find_probes  # numpy, which collecting does without

        edge = self.thresholds.edge
        probes = find_probes(self.thresholds, self.tasks, self.reference_artifact)
        return tuple(cut(probe, edge) for probe in probes)

    @classmethod
    def start(cls, config: pytest.Config) -> GateSession:
        """Build the session, or end pytest with exit code 4 and one line."""
        from qgate.report.report_file import check_writable

        try:
            options = Options.from_config(config)
            session = cls(config, options)
            if not session.is_silent:
                check_writable(options.json)
                require_usable(session.bench.children.store.directory)
        except errors.QGateError as error:
            raise pytest.UsageError(*str(error).splitlines()) from None
        choose_tests(config)
        session.undo_signals = interrupt_on_termination()
        return session

    @property
    def is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    @property
    def is_silent(self) -> bool:
        """True where no report is written: in a worker, and when rows are only listed."""
        return self.is_worker or bool(self.config.option.collectonly)

    def limits(self, artifact: Artifact) -> dict[str, Limit]:
        """The limits of the rows that its runtime can measure, each by a rule that decides."""
        return self.feasibility.settle(self.applicable.limits(artifact))

    def areas_of(self, artifact: Artifact) -> frozenset[str]:
        """The lines of the checklist of which rows were picked for it."""
        return frozenset(self._areas.get(artifact.id, ()))

    @contextmanager
    def progress(self, subject: str) -> Iterator[Callable[[str, int, int], None]]:
        """A progress line for one long piece of work; silent in workers and with -q."""
        reporter: Any = self.config.pluginmanager.getplugin("terminalreporter")
        capture: Any = self.config.pluginmanager.getplugin("capturemanager")
        is_terminal = bool(reporter and reporter.isatty)
        writer = getattr(reporter, "_tw", None)

        def write(text: str) -> None:
            if writer is None or self.config.get_verbosity() < 0:
                return
            with capture.global_and_fixture_disabled():
                if is_terminal:  # past the writer, which would take it for pytest's own line
                    writer._file.write(text)
                    writer._file.flush()
                else:
                    reporter.ensure_newline()
                    reporter.write(text, flush=True)

        line = ProgressLine(
            write,
            is_terminal=is_terminal,
            width=getattr(writer, "fullwidth", 80),
            column=lambda: getattr(writer, "width_of_current_line", 0),
            overall=self.clock.describe,
        )
        line.begin(subject)
        try:
            yield line.step
        finally:
            line.end()

    # --- collection ---------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One parameter an artifact, set up once and torn down after its last row."""
        if fixtures.takes_artifact(metafunc):
            named = {artifact.id: artifact for artifact in self.artifacts}
            metafunc.parametrize(
                "artifact", list(named.values()), ids=list(named), indirect=True, scope="session"
            )
        if fixtures.takes_task(metafunc):
            names = [task.name for task in self.thresholds.tasks]
            metafunc.parametrize("task", names, indirect=True)

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(
        self, items: list[pytest.Item]
    ) -> Generator[None, None, None]:
        """Leave out rows that are there only where somebody sets a limit.

        Rows are marked by their names before `-k` and `-m` pick some.
        """
        if self.config.getoption("benchmark_only", False):
            offer_benchmarks(items)
        for item in items:
            mark_by_name(item)
        yield
        items[:] = [item for item in items if is_wanted(item, self.limits)]

    @pytest.hookimpl(tryfirst=True)  # before the terminal asks for the lines below the count
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note which lines of the checklist are run for which artifact."""
        for item in session.items:
            name, artifact = row_of(item)
            if name and artifact is not None:
                self._areas.setdefault(artifact.id, set()).add(area_of(name))

    def pytest_report_header(self) -> list[str]:
        """Say what is gated against what, and by which limits."""
        from qgate.report.header import header

        files = [file.shown for file in self.thresholds.files]
        paths = [_shown(self.options, path) for path in self.options.paths]
        prospects = self.feasibility.describe(self.limits(one) for one in self.artifacts)
        floor = [describe(self.floor)] if self.floor else []
        lines = header(paths, self.artifacts, self.reference_artifact, files, self.effort.name)
        return [*lines, *floor, *prospects]

    def pytest_report_collectionfinish(self) -> list[str]:
        """How long it will take; with --collect-only -v: each limit and the line it comes from."""
        if not self.config.option.collectonly:
            return self._estimate()
        if self.config.get_verbosity() < 1:
            return []
        from qgate.report.header import limits_listing

        bands = {artifact.id: str(band_of(artifact.bits)) for artifact in self.artifacts}
        return limits_listing({a.id: self.limits(a) for a in self.artifacts}, bands)

    def _estimate(self) -> list[str]:
        """The line that says how long the picked rows will take; sets the clock by it."""
        from qgate.planning.clock import in_words
        from qgate.planning.estimate import asks_of, estimate_run
        from qgate.planning.machine import measure_speed
        from qgate.reference.texts import is_written

        gated = [one for one in self.artifacts if self.areas_of(one) - {"integrity"}]
        original = self.reference_artifact
        if self.is_worker or original is None or not gated:
            return []
        try:
            if not all(self.bench.children.serves_on_cpu(artifact) for artifact in gated):
                return []
            probes = self._find_probes()
            writes_text = is_written(self.thresholds.text, self.options.directory)
        except errors.QGateError:
            return []  # its rows say so
        context = original.context_length or self.thresholds.edge.context_tokens
        asks = asks_of(self.thresholds, probes, context, writes_text=writes_text)
        expected = estimate_run(gated, original, self._areas, asks, measure_speed())
        self.clock = RunClock(expected)
        count = f"{len(gated)} artifact{'' if len(gated) == 1 else 's'}"
        return [f"qgate: {in_words(sum(expected.values()))}: {count}, {self.effort.name}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:  # noqa: ANN401
        """Keep an artifact on one worker."""
        from qgate.plugin.xdist import ArtifactScheduling

        return ArtifactScheduling(config, log, [artifact.id for artifact in self.artifacts])

    # --- running ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the row's record with the report; one that could not be measured is an ERROR."""
        report = yield
        if call.excinfo is not None:
            transport.attach_failure(item, report, call.excinfo.value, self.limits)
        transport.send(item, report)
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Enter the row into the account, and the account onto the disk."""
        has_no_row = report.when == "teardown" or (report.when == "setup" and report.passed)
        if self.is_worker or has_no_row:
            return
        row = transport.receive(report)
        if row is not None:
            for note in row.subject.notes if row.subject else ():
                self._note(note)
            self.ledger.enter(row.artifact_id, row.record, row.subject)
            self.write_report()

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    # --- reporting ----------------------------------------------------------------------------

    def report(self) -> Report:
        files = [{"path": file.shown, "digest": file.digest} for file in self.thresholds.files]
        thresholds = {"files": files, "effort": self.effort.name}
        return self.ledger.report(environment.until_now(self.environment), thresholds)

    def write_report(self) -> None:
        from qgate.report.report_file import write

        write(self.report(), self.options.json)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the report; then, and only then, send it to MLflow."""
        if self.is_silent:
            return
        self.write_report()
        for note in self.bench.children.store.notes:
            self._note(note)
        self.notes += self._unmet(session)
        self.notes.append(self._deliver(session))

    def _unmet(self, session: pytest.Session) -> list[str]:
        """What --qgate-strict holds against the run; may only make the exit code stricter."""
        lost = self.ledger.missing() + self.ledger.skipped()
        if not lost or not self.options.strict:
            return []
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        rows = ", ".join(f"{artifact}: {check}" for artifact, check in lost[:5])
        return [f"--qgate-strict: {len(lost)} required rows were not measured: {rows}"]

    def _deliver(self, session: pytest.Session) -> str:
        """Send the report; who interrupts a run waits for nothing, it can be sent later."""
        from qgate.report.header import upload_line
        from qgate.report.mlflow import upload

        uri = upload.resolve_uri(self.options.mlflow_uri, os.environ, self.options.directory)
        if session.exitstatus == pytest.ExitCode.INTERRUPTED:
            outcome = upload.postpone(self.options.json, uri, "the run was interrupted")
        else:
            with self.progress("report") as step:
                step("sending to MLflow", 0, 0)
                outcome = upload.upload_in_child(self.options.json, uri, UPLOAD_DEADLINE_S)
        return upload_line(outcome, _shown(self.options, self.options.json))

    def pytest_unconfigure(self) -> None:
        """End the original's child; leave the process's signals as they were."""
        self.bench.children.close()
        self.undo_signals()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - no public type
        """The table, the failing lines, and the smallest artifact that passes."""
        if self.is_silent:
            return
        from qgate.report.table import render

        terminalreporter.section("qgate")
        width = terminalreporter._tw.fullwidth
        is_verbose = self.config.get_verbosity() > 0
        for line in render(self.report(), width, is_verbose):
            style = {} if line.style == "plain" else {line.style: True}
            terminalreporter.write_line(line.text, **style)
        for note in [f"report: {_shown(self.options, self.options.json)}", *self.notes]:
            terminalreporter.write_line(note)


def _shown(options: Options, path: Path) -> str:
    inside = path.is_relative_to(options.directory)
    return str(path.relative_to(options.directory) if inside else path)
