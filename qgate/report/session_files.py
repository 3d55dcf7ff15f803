"""The files that hold the report of one session.

Several gates may run in one directory at a time. Each writes a file of its own after every row,
`.qgate/reports/SESSION.json` of the directory that it was started in, and no other gate touches it.
When a gate ends, the whole report takes the place of the file that users name
(`.qgate/report.json`, or that of `--qgate-json`): that one is always of the gate that ended last.
What an upload tells goes into the session's own file, and into the named one as long as that holds
the same session.

While a gate runs it holds a lock on a mark beside the named file, `.NAME.SESSION.running`, which
goes when its report is in place. One that nobody holds is of a gate that was killed, or found no
room: what lies in the named file is of an earlier gate then, and must not pass for it.
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
from qgate.untrusted.files import NO_FILE, open_unlinked
from qgate.untrusted.locks import open_to_lock, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.records import Report

KEPT = 50
"""Sessions whose reports are kept in a directory: the newest."""
MOST_KEPT = 500
"""With those that were not uploaded, however old."""
_HOME, _REPORTS, _NAMED = ".qgate", "reports", "report.json"
_RUNNING = ".running"
_LONGEST_PATH = 4096
_PATIENCE_S = 10.0
"""Who changes a report is through in an instant."""
_LOOK_S = 0.25
"""Who looks whether a mark is held, holds it for an instant himself."""
_SESSION = r"\d{8}T\d{6}Z-\d+-[0-9a-f]{8}"
_NAME = re.compile(rf"{_SESSION}\.json")
"""Start in UTC, process, and the first digits of the session's id: the newest is the last."""


class SessionFiles:
    """Where one session keeps its report.

    Args:
        named: the file that users name.
        directory: the one that the gate was started in.
        environment: the report's: when the session started, and its id.
    """

    def __init__(self, named: Path, directory: Path, environment: Mapping[str, Any]) -> None:
        self.named = named
        started = re.sub(r"[-:]", "", environment["started_at"][:19])
        session = f"{started}Z-{os.getpid()}-{environment['session_id'][:8]}"
        self.own = directory / _HOME / _REPORTS / f"{session}.json"
        self.own_problem = self.named_problem = ""
        """Why the file does not hold what was last to be written, in one line."""
        self._mark = named.with_name(f".{named.name}.{session}{_RUNNING}")
        self._held: int | None = None

    def check(self) -> list[str]:
        """Find out before the run whether the report can be written; drop the oldest ones.

        Returns:
            What of those has to be said.

        Raises:
            UsageError: it cannot.
        """
        check_writable(self.named)
        # who names a file elsewhere may have started where nothing can be written
        is_beside = self.own.is_relative_to(self.named.parent)
        with contextlib.suppress(*([] if is_beside else [UsageError])):
            check_writable(self.own)
        lost = _drop_oldest(self.own.parent)
        if not lost:
            return []
        return [
            f"reports: {self.own.parent}: got more than {MOST_KEPT} sessions; dropped the oldest,"
            f" {len(lost)} of them never uploaded: {', '.join(path.name for path in lost[:3])}"
        ]

    def begin(self) -> None:
        """From now on the named file is of an earlier gate, until this one has ended."""
        inside = self.own.is_relative_to(self.named.parent)
        own = self.own.relative_to(self.named.parent) if inside else self.own
        self._held = _hold(self._mark, says=os.fsencode(own))

    def keep(self, report: Report) -> None:
        """Write the session's own file; a full disk may have room again for the next row."""
        self.own_problem = _try_to_write(report, self.own)

    def end(self, report: Report) -> None:
        """Write it for the last time, and in the place of the report before."""
        self.keep(report)
        with alone_with(self.named):
            self.named_problem = _try_to_write(report, self.named)
        if not self.named_problem:
            self._drop_stale()
            self._unmark()

    @property
    def newest(self) -> Path | None:
        """Of a run that has ended, the file to read; None where neither could be written."""
        if not self.own_problem:
            return self.own
        return None if self.named_problem else self.named

    def _drop_stale(self) -> None:
        """A full disk may have had room for an earlier row's; nobody may take that for the last."""
        if self.own_problem:
            with contextlib.suppress(OSError):
                self.own.unlink(missing_ok=True)

    def _unmark(self) -> None:
        """This gate is through; those that began before and were killed are of no concern now."""
        if self._held is not None:
            os.close(self._held)
            self._held = None
        for mark in _left_marks(self.named, until=self._mark.name):
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


def own_file(path: Path) -> Path:
    """The session's own file for a report that may lie in a named one; `path` where none is found.

    It is looked for beside `.qgate/report.json`, and else in the working directory's `.qgate`. What
    is read from there is of one session, whoever ends meanwhile.
    """
    session_id = _session_of(path)
    home = path.parent if path.parent.name == _HOME else Path(_HOME)
    own = [] if session_id is None else _of_sessions(home / _REPORTS, session_id)
    return next((one for one in own if _ended_at(one) >= _ended_at(path)), path)


def find_unfinished(path: Path) -> Path | None:
    """What a gate left that should have put its report at `path`, and did not: its own, or a mark.

    None where there is no such gate.
    """
    mark = next(iter(_left_marks(path)), None)
    if mark is None:
        return None
    own = _read_mark(mark)
    return own if own is not None and own.is_file() else mark


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
        if session_id == _session_of(named) and _ended_at(own) >= _ended_at(named):
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


def _hold(mark: Path, says: bytes) -> int | None:
    """Make a mark that is held until this process ends; None where there can be none."""
    try:
        made = open_unlinked(mark, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with contextlib.suppress(OSError):  # no room; it is a mark all the same
            os.write(made, says)
        os.close(made)
        # to be read: a disk on which a file is open to be written cannot be made read-only
        held = open_unlinked(mark)
    except OSError:
        return None
    with contextlib.suppress(OSError):  # without locks it is taken for left until it goes
        fcntl.flock(held, fcntl.LOCK_SH)
    return held


def _left_marks(named: Path, until: str = "") -> list[Path]:
    """Of gates that write this named file, the marks that nobody holds; the oldest is the first.

    Args:
        named: the file.
        until: the name of the last one that is wanted, if not all are.
    """
    name = re.compile(rf"\.{re.escape(named.name)}\.{_SESSION}{re.escape(_RUNNING)}")
    try:
        marks = sorted(mark for mark in named.parent.iterdir() if name.fullmatch(mark.name))
    except OSError:
        return []
    return [mark for mark in marks if (not until or mark.name <= until) and _is_left(mark)]


def _is_left(mark: Path) -> bool:
    """Whether nobody holds it, as far as is known: without locks its gate may have been killed."""
    try:
        opened = open_to_lock(mark)
    except OSError as error:
        return error.errno not in NO_FILE
    try:
        wait_for(opened, _LOOK_S)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        os.close(opened)
    return True


def _read_mark(mark: Path) -> Path | None:
    """The session's own file."""
    try:
        with os.fdopen(open_unlinked(mark), "rb") as file:
            said = file.read(_LONGEST_PATH)
    except OSError:
        return None
    return mark.parent / os.fsdecode(said) if said else None


def _drop_oldest(reports: Path) -> list[Path]:
    """Drop what is not kept; return what of it was not uploaded."""
    lost = []
    found = _of_sessions(reports)
    for number, old in enumerate(found[:-KEPT]):
        is_uploaded = _is_uploaded(old)
        if not is_uploaded and number >= len(found) - MOST_KEPT:
            continue
        with contextlib.suppress(OSError):  # who may not delete it keeps it
            old.unlink()
            lost += [] if is_uploaded else [old]
    return lost


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
    session_id = _section(path, "environment").get("session_id")
    return session_id if isinstance(session_id, str) else None


def _ended_at(path: Path) -> str:
    """When it was written, to the second; a disk that was full then may hold an earlier one."""
    return str(_section(path, "environment").get("ended_at", ""))


def _is_uploaded(path: Path) -> bool:
    return _section(path, "mlflow").get("uploaded") is True


def _section(path: Path, name: str) -> dict[str, Any]:
    """Of a report; empty where there is none."""
    try:
        report = read_json(path)
    except UsageError:
        return {}
    section = report.get(name) if isinstance(report, dict) else None
    return section if isinstance(section, dict) else {}


def _try_to_write(report: Report, path: Path) -> str:
    """Why it could not be written; empty where it was."""
    try:
        write(report, path)
    except QGateError as error:
        return str(error)
    return ""
