"""What can go wrong, as a tree.

    QGateError
    ├── UsageError           a wrong option or path; pytest ends with exit code 4
    ├── ThresholdsError      a wrong thresholds file; exit code 4; names file and line
    ├── ArtifactError        an artifact that is unreadable, refused or does not fit its reference
    ├── RuntimeUnavailable   the library or device that an artifact needs is not there
    ├── RuntimeFailed        the runtime crashed, hung or ended without a result
    └── MeasurementError     the runtime answered, but not with what was asked for
        ├── NotApplicable    the row says nothing about this model; a shipped one is skipped
        └── StoreFull        what was measured cannot be written to the disk

Every message is one line: `<where>: <what is wrong>: got <observed>; expected <constraint>.
<remedy>`.
None of them ever reads as a pass: fixtures turn them into ERROR rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProgress:
    """How far a request had come when it failed, by the runtime's own word."""

    done: int
    """Pieces that were through."""
    total: int
    first: int
    """The first of those that were with the model, from 0."""
    stop: int
    """Behind the last of them."""


class QGateError(Exception):
    """Anything that qgate reports to its user by a message instead of a traceback."""

    reached: RequestProgress | None = None
    """Set by the host of the child that failed, where the runtime told."""
    details: Mapping[str, Any] = MappingProxyType({})
    """What the report tells beside the message: JSON values."""
    subject: str = ""
    """What the message begins with, such as the id of a model; empty where it names none."""


class UsageError(QGateError):
    """A command line option or a path that cannot be used."""


class ThresholdsError(QGateError):
    """A thresholds file that cannot be used; the message begins with `file:line`."""


class ArtifactError(QGateError):
    """An artifact that is unreadable, refused, or does not belong to its reference."""


class RuntimeUnavailable(QGateError):  # noqa: N818 - a state, as in the report
    """The runtime's library or device is absent; the message names the install command."""


class RuntimeFailed(QGateError):  # noqa: N818 - a state, as in the report
    """The runtime's process crashed, hung, or ended without a result.

    Args:
        message: one line, naming the signal or the deadline.
        last_words: the end of the child's standard error, for the report.
    """

    def __init__(self, message: str, last_words: str = "") -> None:
        super().__init__(message)
        self.last_words = last_words


class MeasurementError(QGateError):
    """A measurement that does not hold what was asked for: a lost sample, a NaN."""


class NotApplicable(MeasurementError):  # noqa: N818 - a state, as in the report
    """A row that tells nothing about this model: its reference has nothing that could be lost.

    Where its limit is one that qgate ships for every model it is skipped, which --qgate-strict does
    not let pass. Where somebody set a limit in a thresholds file of their own it is an error.
    """

    names_limit: bool = False
    """Whether the message says where the limit is written."""


class StoreFull(MeasurementError):  # noqa: N818 - a state, as in the report
    """What was measured cannot be written: the disk is full or takes nothing more."""


def with_subject(error: QGateError, subject: str) -> QGateError:
    """The same kind of error, its message beginning with what it is about."""
    if error.subject == subject:
        return error
    named = reworded(error, f"{subject}: {error}")
    named.subject = subject
    return named


def reworded(error: QGateError, line: str) -> QGateError:
    """The same error in other words."""
    if isinstance(error, RuntimeFailed):
        said: QGateError = RuntimeFailed(line, error.last_words)
    else:
        said = type(error)(line)
    said.reached, said.details, said.subject = error.reached, error.details, error.subject
    return said


def require_own_package() -> None:
    """Refuse to run where another project's package of this name was installed over this one.

    PyPI has an unrelated `qgate`: pip then replaces single files, and the others fail anywhere.

    Raises:
        UsageError: the package is not the one that this file belongs to.
    """
    import qgate

    if "QGateError" in getattr(qgate, "__all__", ()):
        return
    raise UsageError(
        f"{getattr(qgate, '__file__', 'qgate')}: got another project's package qgate, installed"
        " over this one; expected that of pytest-qgate. Remove it with: pip uninstall -y qgate,"
        " and install pytest-qgate again with --force-reinstall"
    )
