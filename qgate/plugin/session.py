"""The one plugin object of a gated run: hooks of a few lines that delegate.

It lives from `pytest_configure` to the end. In an xdist worker it only runs rows; results travel
on the reports, so that the controller keeps the account in either case.
"""

from __future__ import annotations

import contextlib
import os
import traceback
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from qgate import errors
from qgate.checks import area_of
from qgate.confinement.processors import usable_processors
from qgate.gate.measurer import Measurer
from qgate.gate.processes import RunSettings
from qgate.gate.row import Ledger
from qgate.gate.signals import interrupt_on_termination
from qgate.planning.clock import ModelWatch, RunClock
from qgate.planning.plan import plan_run
from qgate.plugin import fixtures, transport
from qgate.plugin.options import Options
from qgate.plugin.progress import TerminalProgress
from qgate.plugin.rootdir import choose_tests
from qgate.plugin.rows import is_wanted, mark_by_name, offer_benchmarks, row_of
from qgate.reference.store import require_usable
from qgate.report import provenance as environment
from qgate.report.session_files import SessionFiles, has_working_directory, take_over_upload
from qgate.runtimes.confined.starting import Confinement
from qgate.thresholds import band_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

    from qgate.planning.plan import RunPlan
    from qgate.records import Artifact, Limit, Report

UPLOAD_DEADLINE_S = 90.0
"""A first upload makes the embedded store's tables, which takes several seconds."""


class GateSession:
    """What a run knows: options, its plan, and the ledger of its rows."""

    def __init__(self, config: pytest.Config, options: Options, plan: RunPlan) -> None:
        self.config, self.options, self.plan = config, options, plan
        self.clock = RunClock()
        self.progress = TerminalProgress(config, self.clock)
        self.confinement = self._confine()
        self.measurer = Measurer(
            RunSettings(
                plan=plan,
                probes=plan.probes,
                progress=self.progress,
                watch=partial(ModelWatch, self.clock),
                store=options.store,
                store_gib=options.store_gib,
                confinement=self.confinement,
            )
        )
        self._areas: dict[str, set[str]] = {}
        self.ledger = Ledger((one.artifact for one in plan.artifacts), plan.reference)
        for one in plan.artifacts:
            for check in one.limits:
                self.ledger.expect(one.artifact.id, check)
        self.environment: dict[str, Any] = {}
        self.files: SessionFiles | None = None
        """Where the report goes; None where none is written."""
        if not self.is_silent:  # git is asked, which takes a while
            threads = plan.thresholds.runtime.threads or usable_processors()
            known = environment.describe(os.environ, options.directory)
            confinement = self.confinement.describe()
            self.environment = {**known, "threads": threads, "confinement": confinement}
            self.files = SessionFiles(options.json, options.directory, self.environment)
        self.notes = [f"warning: {line}" for line in plan.warnings]
        self.undo_signals: Callable[[], None] = lambda: None

    @classmethod
    def start(cls, config: pytest.Config) -> GateSession:
        """Build the session, or end pytest with exit code 4 and one line."""
        try:
            options = Options.from_config(config)
            plan = plan_run(options)
            if plan.unmatched and options.strict:
                raise errors.ThresholdsError("\n".join(plan.unmatched))
            session = cls(config, options, plan)
            if session.files is not None:
                session.notes += session.files.check()
                require_usable(session.measurer.children.store.directory)
        except errors.QGateError as error:
            raise pytest.UsageError(*str(error).splitlines()) from None
        choose_tests(config)
        session.undo_signals = interrupt_on_termination()
        return session

    def _confine(self) -> Confinement:
        """How the children of this run are confined; tried, but where rows are only listed.

        Raises:
            UsageError: it is required and does not work.
        """
        from qgate.gate.confining import confine

        if self.config.option.collectonly:
            return Confinement()
        return confine(self.plan, self.options.confine)

    @property
    def is_worker(self) -> bool:
        return hasattr(self.config, "workerinput")

    @property
    def is_silent(self) -> bool:
        """True where no report is written: in a worker, and when rows are only listed."""
        return self.is_worker or bool(self.config.option.collectonly)

    def limits(self, artifact: Artifact) -> Mapping[str, Limit]:
        """The limits of the rows that its runtime can measure, each by a rule that decides."""
        return self.plan.of(artifact).limits

    def areas_of(self, artifact: Artifact) -> frozenset[str]:
        """The lines of the checklist of which rows were picked for it."""
        return frozenset(self._areas.get(artifact.id, ()))

    # --- collection ---------------------------------------------------------------------------

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """One parameter an artifact, set up once and torn down after its last row."""
        if fixtures.takes_artifact(metafunc):
            named = {one.artifact.id: one.artifact for one in self.plan.artifacts}
            metafunc.parametrize(
                "artifact", list(named.values()), ids=list(named), indirect=True, scope="session"
            )
        if fixtures.takes_task(metafunc):
            names = [task.name for task in self.plan.thresholds.tasks]
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

        files = [file.shown for file in self.plan.thresholds.files]
        paths = [_shown(self.options, path) for path in self.options.paths]
        gated = [one.artifact for one in self.plan.artifacts]
        lines = header(paths, gated, self.plan.reference, files, self.plan.effort)
        warnings = [f"qgate: warning: {line}" for line in self.plan.warnings]
        confined = [f"qgate: {line}"] if (line := self.confinement.line()) else []
        return [*lines, *self.plan.header, *confined, *warnings]

    def pytest_report_collectionfinish(self) -> list[str]:
        """How long it will take; with --collect-only -v: each limit and the line it comes from."""
        if not self.config.option.collectonly:
            return self._estimate()
        if self.config.get_verbosity() < 1:
            return []
        from qgate.report.header import limits_listing

        bands = {one.artifact.id: str(band_of(one.artifact.bits)) for one in self.plan.artifacts}
        return limits_listing({one.artifact.id: one.limits for one in self.plan.artifacts}, bands)

    def _estimate(self) -> list[str]:
        """The line that says how long the picked rows will take; sets the clock by it."""
        from qgate.planning.clock import in_words
        from qgate.planning.estimate import expected_seconds

        if self.is_worker:
            return []
        try:
            expected = expected_seconds(self.plan, self._areas)
        except errors.QGateError:
            return []  # its rows say so
        if not expected:
            return []
        self.clock.expect(expected)
        gated = sum(bool(areas - {"integrity"}) for areas in self._areas.values())
        count = f"{gated} artifact{'' if gated == 1 else 's'}"
        store = self.measurer.children.store
        kept = ", less where answers are kept" if store.has_entries() else ""
        took = in_words(sum(expected.values()))
        return [f"qgate: {took}{kept}: {count}, {self.plan.effort}"]

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:  # noqa: ANN401
        """Keep an artifact on one worker."""
        from qgate.plugin.xdist import ArtifactScheduling

        return ArtifactScheduling(config, log, [one.artifact.id for one in self.plan.artifacts])

    # --- running ------------------------------------------------------------------------------

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self) -> Generator[None, object, object]:
        """Make the working directory again where it was deleted: pytest goes back to it."""
        if self.files is not None:
            self.files.begin()
        try:
            return (yield)
        finally:
            if not has_working_directory():
                self._note(f"warning: {self.options.directory} was deleted during the run")
                with contextlib.suppress(OSError):
                    self.options.directory.mkdir(parents=True, exist_ok=True)

    def end_without_directory(self) -> bool:
        """Show what pytest cannot: it has no directory to go back to. False where it has."""
        if self.files is None or self.options.directory.is_dir():
            return False
        self.files.end(self.report())
        if self.files.named_problem:
            self._note(f"report: {self.files.named_problem}")
        self.pytest_terminal_summary(self.config.pluginmanager.getplugin("terminalreporter"))
        return True

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
        """Enter the row into the account, and the account onto the disk.

        A worker's own account is for its later rows: they ask what became of a leading one.
        """
        if report.when != "call" and report.passed:
            return
        row = transport.receive(report)
        if row is None:
            return
        self.ledger.enter(row.artifact_id, row.record, row.subject, report.nodeid)
        if self.files is not None:
            for note in row.subject.notes if row.subject else ():
                self._note(note)
            self.files.keep(self.report())

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    # --- reporting ----------------------------------------------------------------------------

    def report(self) -> Report:
        files = [{"path": file.shown, "digest": file.digest} for file in self.plan.thresholds.files]
        thresholds = {"files": files, "effort": self.plan.effort}
        return self.ledger.report(environment.until_now(self.environment), thresholds)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        """Write the report; then, and only then, send it to MLflow.

        A file of another plugin that cannot be written, such as JUnit's, ends neither.
        """
        try:
            return (yield)
        except OSError as error:
            if self.files is None:
                raise
            self._lose(session, _describe_loss(error))
            return None
        finally:
            if self.files is not None:
                try:
                    self._finish(session, self.files)
                except KeyboardInterrupt:
                    session.exitstatus = pytest.ExitCode.INTERRUPTED
                    self._note("interrupted while the report was written or sent")

    def _finish(self, session: pytest.Session, files: SessionFiles) -> None:
        self._disbelieve_changed(session)
        files.end(self.report())
        if files.named_problem:
            self._lose(session, f"report: {files.named_problem}")
        elif files.own_problem:
            self._note(f"warning: {files.own_problem}")
        for note in self.measurer.children.store.notes:
            self._note(note)
        self.notes += self._unmet(session)
        self.notes.append(self._deliver(session, files))
        take_over_upload(files.own, files.named)

    def _lose(self, session: pytest.Session, line: str) -> None:
        """Say what a run could not write; it does not pass then."""
        self._note(line)
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _disbelieve_changed(self, session: pytest.Session) -> None:
        """Make errors of rows whose files are no longer those that the run began with."""
        from qgate.measure.integrity.rows import OF_OWN_FILES

        files, reference = self.measurer.children.files, self.plan.reference
        gated = [one.artifact for one in self.plan.artifacts]
        lost: list[bool] = []
        for artifact in filter(files.is_known, gated):
            try:
                files.require_unchanged(artifact, self.ledger.digest(artifact.id))
            except errors.ArtifactError as error:
                lost.append(self.ledger.disbelieve(artifact.id, str(error)))
        if reference is not None and files.is_known(reference):
            digest = self.ledger.reference.get("digest")
            try:
                files.require_unchanged(reference, digest)
            except errors.ArtifactError as error:
                reason = f"reference {error}"
                lost += [self.ledger.disbelieve(a.id, reason, but=OF_OWN_FILES) for a in gated]
        if any(lost) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _unmet(self, session: pytest.Session) -> list[str]:
        """What --qgate-strict holds against the run; may only make the exit code stricter."""
        lost = self.ledger.missing() + self.ledger.skipped()
        if not lost or not self.options.strict:
            return []
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        rows = ", ".join(f"{artifact}: {check}" for artifact, check in lost[:5])
        return [f"--qgate-strict: {len(lost)} required rows were not measured: {rows}"]

    def _deliver(self, session: pytest.Session, files: SessionFiles) -> str:
        """Send the report; who interrupts a run waits for nothing, it can be sent later."""
        from qgate.report.header import upload_line
        from qgate.report.mlflow import upload

        report = files.newest
        if report is None:
            return "mlflow: not uploaded (the report is not on the disk)"
        uri = upload.resolve_uri(self.options.mlflow_uri, os.environ, self.options.directory)
        if session.exitstatus == pytest.ExitCode.INTERRUPTED:
            outcome = upload.postpone(report, uri, "the run was interrupted")
        else:
            try:
                with self.progress("report") as step:
                    step("sending to MLflow", 0, 0)
                    outcome = upload.upload_in_child(report, uri, UPLOAD_DEADLINE_S)
            except KeyboardInterrupt:
                session.exitstatus = pytest.ExitCode.INTERRUPTED
                outcome = upload.postpone(report, uri, "the upload was interrupted")
        return upload_line(outcome, _shown(self.options, report), self._address_again(outcome.uri))

    def _address_again(self, shown_uri: str) -> str:
        """What `qgate upload` has to be told of the address; empty where it finds it by itself.

        It takes MLFLOW_TRACKING_URI before what the report holds, and no report holds a login.
        """
        named = self.options.mlflow_uri
        if not named or os.environ.get("MLFLOW_TRACKING_URI") == named:
            return ""
        if shown_uri != named:
            return "URI"
        return named if os.environ.get("MLFLOW_TRACKING_URI") else ""

    def pytest_unconfigure(self) -> None:
        """End the reference's child; leave the process's signals as they were."""
        self.measurer.children.close()
        self.undo_signals()

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:  # noqa: ANN401 - no public type
        """The table, the failing lines, and the smallest artifact that passes."""
        if self.files is None:
            return
        from qgate.report.table import render

        terminalreporter.section("qgate")
        width = terminalreporter._tw.fullwidth
        is_verbose = self.config.get_verbosity() > 0
        for line in render(self.report(), width, is_verbose):
            style = {} if line.style == "plain" else {line.style: True}
            terminalreporter.write_line(line.text, **style)
        named, own = (_shown(self.options, path) for path in (self.files.named, self.files.own))
        more = "" if self.files.own_problem else f" (this run's own: {own})"
        places = [] if self.files.named_problem else [f"report: {named}{more}"]
        for note in [*places, *self.notes]:
            terminalreporter.write_line(note)


def _shown(options: Options, path: Path) -> str:
    inside = path.is_relative_to(options.directory)
    return str(path.relative_to(options.directory) if inside else path)


def _describe_loss(error: OSError) -> str:
    """What a plugin could not write at the end, by the module whose hook that was."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    hook = [frame for frame in frames if frame.f_code.co_name == "pytest_sessionfinish"][-1]
    file = error.filename or "its file"
    return (
        f"{hook.f_globals['__name__']}: {file}: cannot be written: got {error.strerror};"
        " expected a writable file. Run again when there is room for it"
    )
