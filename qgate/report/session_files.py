"""The files that hold the report of one session.

Several gates may run in one directory at a time. Each writes a file of its own after every row,
`.qgate/reports/SESSION.json`, and no other gate touches it. When a gate ends, the whole report
takes the place of the file that users name (`.qgate/report.json`, or that of `--qgate-json`): that
one is always of the gate that ended last. What an upload tells goes into the session's own file,
and into the named one as long as that holds the same session.

While a gate runs it holds a lock on `SESSION.running`, which goes when its report is in place. One
that nobody holds is of a gate that was killed, or found no room: what lies in the named file is of
an earlier gate then, and must not pass for it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError, UsageError
from qgate.report.mlflow.lock import alone
from qgate.report.report_file import check_writable, read_json, write, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.records import Report

KEPT = 50
"""Sessions whose reports are kept in a directory: the newest."""
_HOME, _REPORTS, _NAMED = ".qgate", "reports", "report.json"
_RUNNING = ".running"
_PATIENCE_S = 10.0
"""Who changes a report is through in an instant."""
_NAME = re.compile(r"\d{8}T\d{6}Z-\d+-[0-9a-f]{8}\.json")
"""Start in UTC, process, and the first digits of the session's id: the newest is the last."""


class SessionFiles:
    """Where one session keeps its report.

    Args:
        named: the file that users name.
        environment: the report's: when the session started, and its id.
    """

    def __init__(self, named: Path, environment: Mapping[str, Any]) -> None:
        self.named = named
        self._session_id: str = environment["session_id"]
        started = re.sub(r"[-:]", "", environment["started_at"][:19])
        self.own = _reports_beside(named) / f"{started}Z-{os.getpid()}-{self._session_id[:8]}.json"
        self.own_problem = self.named_problem = ""
        """Why the file does not hold what was last to be written, in one line."""
        self._mark: int | None = None

    def check(self) -> None:
        """Find out before the run whether the report can be written; drop the oldest ones.

        Raises:
            UsageError: it cannot.
        """
        check_writable(self.named)
        check_writable(self.own)
        for old in _of_sessions(self.own.parent)[:-KEPT]:
            with contextlib.suppress(OSError):  # who may not delete it keeps it
                old.unlink(missing_ok=True)

    def begin(self) -> None:
        """From now on the named file is of an earlier gate, until this one has ended."""
        self._mark = _hold(self.own.with_suffix(_RUNNING), named_file=self.named.name)

    def keep(self, report: Report) -> None:
        """Write the session's own file; a full disk may have room again for the next row."""
        self.own_problem = _try_to_write(report, self.own)

    def end(self, report: Report) -> None:
        """Write it for the last time, and in the place of the report before."""
        self.keep(report)
        with alone_with(self.named):
            self.named_problem = _try_to_write(report, self.named)
        if not self.named_problem:
            self._unmark()

    @property
    def newest(self) -> Path | None:
        """Of a run that has ended, the file to read; None where neither could be written."""
        if not self.own_problem:
            return self.own
        return None if self.named_problem else self.named

    def _unmark(self) -> None:
        """This gate is through; those that were killed before are of no concern any more."""
        if self._mark is not None:
            os.close(self._mark)
            self._mark = None
        for mark in _abandoned(self.named):
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


def own_file(path: Path) -> Path:
    """The session's own file for a report that may lie in a named one; `path` where it has none.

    What is read from there is of one session, whoever ends meanwhile.
    """
    session_id = _session_of(path)
    own = [] if session_id is None else _of_sessions(_reports_beside(path), session_id)
    return next(iter(own), path)


def find_unfinished(path: Path) -> Path | None:
    """The own report of a gate that should have put its report at `path`, and did not."""
    mark = next(iter(_abandoned(path)), None)
    return mark and mark.with_suffix(".json")


def take_over_upload(own: Path, named: Path | None = None) -> None:
    """Into a named file, too, what an upload wrote into a session's own.

    Args:
        own: the session's own file.
        named: one that takes it over as long as it holds the same session; `.qgate/report.json`
            where None.
    """
    if named is None:
        named = own.parent.parent / _NAMED
    session_id = _session_of(own) if _NAME.fullmatch(own.name) else None
    if session_id is None or session_id != _session_of(named):
        return
    with alone_with(named), contextlib.suppress(QGateError):  # it is found again, written or not
        if session_id == _session_of(named):
            write_json(read_json(own), named)


@contextlib.contextmanager
def alone_with(report: Path) -> Iterator[None]:
    """Nobody else changes the file meanwhile, as far as there can be a lock beside it."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # a full disk, or who holds it was stopped
            stack.enter_context(alone(report.with_name(f".{report.name}.lock"), _PATIENCE_S))
        yield


def has_working_directory() -> bool:
    """False where it was deleted."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return False
    return True


def _reports_beside(path: Path) -> Path:
    home = path.parent if path.parent.name == _HOME else path.parent / _HOME
    return home / _REPORTS


def _hold(mark: Path, named_file: str) -> int | None:
    """Make a mark that is held until this process ends; None where there can be none."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(mark, flags, 0o666), "wb") as file:
            file.write(os.fsencode(named_file))
        # held to be read: a disk on which a file is open to be written cannot be made read-only
        held = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW)
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:
        return None
    return held


def _abandoned(named: Path) -> list[Path]:
    """The marks that nobody holds of gates that write this named file."""
    try:
        marks = [one for one in _reports_beside(named).iterdir() if one.suffix == _RUNNING]
    except OSError:
        return []
    return [mark for mark in sorted(marks) if _is_abandoned(mark, os.fsencode(named.name))]


def _is_abandoned(mark: Path, named_file: bytes) -> bool:
    try:
        held = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return os.read(held, len(named_file) + 1) == named_file
    except OSError:  # somebody holds it
        return False
    finally:
        os.close(held)


def _of_sessions(reports: Path, session_id: str = "") -> list[Path]:
    """Oldest first; with an id that session's own."""
    try:
        found = sorted(path for path in reports.iterdir() if _NAME.fullmatch(path.name))
    except OSError:
        return []
    mark = f"-{session_id[:8]}.json"
    if not session_id:
        return found
    return [path for path in found if path.name.endswith(mark) and _session_of(path) == session_id]


def _session_of(path: Path) -> str | None:
    try:
        report = read_json(path)
    except UsageError:
        return None
    environment = report.get("environment") if isinstance(report, dict) else None
    session_id = environment.get("session_id") if isinstance(environment, dict) else None
    return session_id if isinstance(session_id, str) else None


def _try_to_write(report: Report, path: Path) -> str:
    """Why it could not be written; empty where it was."""
    try:
        write(report, path)
    except QGateError as error:
        return str(error)
    return ""
