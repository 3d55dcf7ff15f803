"""The parent's side of a runtime: a child process under deadlines.

A runtime may crash, hang or leave without a word; this process does not. The child is a session of
its own (so that a runtime's own children go with it), dies with its parent, works in an empty
directory, and gets an environment without secrets.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import IO, TYPE_CHECKING, Any

from qgate import errors
from qgate.errors import QGateError, RequestProgress, RuntimeFailed
from qgate.runtimes import launch as child
from qgate.runtimes import wire
from qgate.runtimes.confined.child_view import Reach
from qgate.runtimes.inbox import Inbox
from qgate.runtimes.patience import Patience
from qgate.runtimes.verbs import tokens_of
from qgate.untrusted.text import printable, quoted, shortened
from qgate.untrusted.work_folder import WorkFolder

if TYPE_CHECKING:
    from qgate.runtimes.confined.starting import Confinement

ProgressSink = Callable[[str, int, int], None]
"""sink(what, done, total), called about once a second while a request runs."""
Progressing = Callable[[], contextlib.AbstractContextManager[ProgressSink]]
"""Opened for each request; whatever shows progress can clear up when it ends."""

_LEAVE_S = 2.0
_BY_SIGNAL = 128
_OF_THE_START = ("describe", "load")
_LACKS = re.compile(r"cannot open shared object|No such file|[Pp]ermission denied|C compiler")
_DOUBT = "It was confined: qgate_confine = off tells whether that is why"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How a child is started and how long it may be silent."""

    runtime: str
    python: str = sys.executable
    stall_s: float = 300.0
    """No progress for so long: the child hangs and is killed."""
    confinement: Confinement | None = None
    """None: the child is not confined."""
    reach: Reach = field(default_factory=Reach)
    """What it gets if it is."""
    variables: tuple[str, ...] = ()
    """Of the environment, that no other runtime's child gets."""

    @property
    def is_confined(self) -> bool:
        return self.confinement is not None and self.confinement.tool is not None


class Host:
    """One child process serving one runtime; a context manager.

    Raises:
        RuntimeFailed: the child crashed, hung or left; carries its last words.
        QGateError: whatever the adapter itself reported, by the same class.

    Either tells how far the request had `reached`, where the adapter told that before.
    """

    n_vocab: int | None = None
    """Of the model that it loaded; None: not known."""

    def __init__(self, settings: HostSettings, progress: Progressing | None = None) -> None:
        self._settings = settings
        self._progress = progress or _unseen
        self._answers = Inbox()
        self._last_words: deque[str] = deque(maxlen=40)
        self._requests = 0
        self._sender: threading.Thread | None = None
        self._stopped = ""
        self._has_crashed = False
        self._reached: RequestProgress | None = None
        self._folder = _own_folder()
        try:
            self._child = child.start(settings, str(self._folder.path))
        except errors.RuntimeUnavailable:
            self._folder.close()
            raise
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._readers = [
            _thread(self._answers.fill, self._child.stdout),
            _thread(self._read_errors, self._child.stderr),
        ]

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def runtime(self) -> str:
        """The name of what it serves."""
        return self._settings.runtime

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def has_crashed(self) -> bool:
        """Whether it ended by itself in the middle of a call."""
        return self._has_crashed

    def call(self, verb: str, request: object) -> Any:  # noqa: ANN401 - JSON and arrays
        """Send one request and wait for its result: what `Verb.ask` does, which knows both."""
        if self._stopped:
            raise self._failure(self._stopped)
        self._requests += 1
        self._reached = None
        line = wire.encode({"id": self._requests, "verb": verb, "args": request})
        tokens = tokens_of(request)
        self._answers.expect(tokens)
        # in a thread: a child that does not read blocks whoever writes more than a pipe holds
        self._sender = _thread(self._send, line)
        with self._progress() as report:
            try:
                return self._wait(verb, Patience(self._settings.stall_s, tokens), report)
            except QGateError as error:
                told = self._with_doubt(verb, error)
                told.reached = self._reached
                raise told from error.__cause__

    def _with_doubt(self, verb: str, error: QGateError) -> QGateError:
        """Where a runtime does not even start, what it may not see can be why."""
        is_at_the_start = self._settings.is_confined and verb in _OF_THE_START
        if is_at_the_start and (isinstance(error, RuntimeFailed) or _LACKS.search(str(error))):
            return errors.reworded(error, f"{error}. {_DOUBT}")
        return error

    def _send(self, request: bytes) -> None:
        # a child that has gone is noticed where its answer is awaited
        with contextlib.suppress(OSError, ValueError):
            assert self._child.stdin is not None
            self._child.stdin.write(request)
            self._child.stdin.flush()

    def _wait(self, verb: str, patience: Patience, report: ProgressSink) -> Any:  # noqa: ANN401 - JSON and arrays
        progress = (verb, 0, 0)
        while True:
            line = self._answers.get(patience.wait_s())
            patience.look()
            if line is None or (not line and self._child.poll() is not None):
                raise self._lost(verb)
            if line:
                patience.heard()
                message = wire.decode(line)
                if message.get("id") == self._requests and "progress" not in message:
                    return self._result(message)
                if "progress" in message:
                    before = progress
                    progress, reached = _read_progress(message)
                    self._reached = reached or self._reached
                    if progress != before:
                        patience.progressed()
                report(*progress)
            # whatever was said: a child that never stops talking is one that hangs
            if why := patience.run_out(verb):
                raise self._stop(f"runtime hung: {why}")

    def _result(self, message: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON and arrays
        if "result" in message:
            return message["result"]
        failed = message.get("error")
        if not isinstance(failed, dict):
            raise _unreadable(message)
        kind = _KINDS.get(str(failed.get("kind")), RuntimeFailed)
        text = shortened(" ".join(str(failed.get("message", "no message")).split()))
        if kind is RuntimeFailed:
            raise self._failure(text)
        raise kind(text)

    def _stop(self, why: str) -> RuntimeFailed:
        """Kill it; whoever asks next hears of the same."""
        self._kill()
        self._stopped = why
        return self._failure(why)

    def _lost(self, verb: str) -> RuntimeFailed:
        if too_much := self._answers.refused:
            return self._stop(f"runtime: unreadable answer to {verb}: got {too_much}")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=_LEAVE_S)
        code = self._child.returncode
        if self._settings.is_confined and code is not None and code > _BY_SIGNAL:  # as in a shell
            code = _BY_SIGNAL - code
        if code is None:
            return self._stop(f"runtime hung: closed its answers in {verb}")
        self._has_crashed = True
        if code < 0:
            name = _signal_name(-code)
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return self._failure(f"runtime crashed: {name} in {verb}{hint}")
        return self._failure(f"runtime ended in {verb} without a result: exit code {code}")

    def _failure(self, message: str) -> RuntimeFailed:
        self._readers[1].join(timeout=1.0)
        words = [line for line in self._last_words if line.strip()]
        tail = f"; last words: {quoted(words[-1].strip(), 200)}" if words else ""
        return RuntimeFailed(message + tail, "\n".join(words))

    def close(self) -> None:
        """Ask the child to leave, then make it; its whole session goes with it."""
        if self._sender is not None and self._sender.is_alive():
            self._kill()  # it does not read; closing its pipe would wait for it
            self._sender.join(timeout=_LEAVE_S)
        with contextlib.suppress(OSError):
            if self._child.stdin is not None:
                self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=_LEAVE_S)
        self._kill()
        self._answers.close()
        for reader in self._readers:  # each closes its stream at its end, which may come later:
            reader.join(timeout=_LEAVE_S)  # a process that left the session can hold it open
        self._folder.close()

    def _kill(self) -> None:
        if self._settings.is_confined:
            # what confines it ends when all of that has gone, memory of devices included
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.kill_within(self._child)
                self._child.wait(timeout=_LEAVE_S)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _read_errors(self, stream: IO[bytes]) -> None:
        with stream:
            for line in iter(lambda: stream.readline(4096), b""):
                text = line.decode(errors="replace").expandtabs().rstrip()
                self._last_words.append(printable(text))


_KINDS: Mapping[str, type[errors.QGateError]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            errors.ArtifactError,
            errors.MeasurementError,
            errors.RuntimeFailed,
            errors.RuntimeUnavailable,
            errors.StoreFull,
        )
    }
)


def _own_folder() -> WorkFolder:
    """The empty directory that a child works in.

    Raises:
        RuntimeUnavailable: there can be none.
    """
    try:
        return WorkFolder("qgate-child-")
    except OSError as error:
        raise errors.RuntimeUnavailable(
            f"runtime: got no directory for its child ({error.strerror}); expected room for an"
            " empty one where temporary files lie. Free some space, or name another with TMPDIR"
        ) from error


def _unseen() -> contextlib.AbstractContextManager[ProgressSink]:
    return contextlib.nullcontext(lambda what, done, total: None)


def _read_progress(message: dict[str, Any]) -> tuple[tuple[str, int, int], RequestProgress | None]:
    try:
        said = message["progress"]
        what, done, total = printable(str(said["what"]))[:60], int(said["done"]), int(said["total"])
        if "at" not in said:
            return (what, done, total), None
        first, stop = map(int, said["at"])
    except (KeyError, TypeError, ValueError, OverflowError):
        raise _unreadable(message) from None
    return (what, done, total), RequestProgress(done=done, total=total, first=first, stop=stop)


def _unreadable(message: dict[str, Any]) -> RuntimeFailed:
    return RuntimeFailed(f"runtime: unreadable answer: got {quoted(str(message), 80)}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have none
        return f"signal {number}"


def _thread(target: Callable[[Any], None], argument: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=(argument,), daemon=True)
    thread.start()
    return thread
