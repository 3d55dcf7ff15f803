"""The parent's side of a runtime: a child process under deadlines.

A runtime may crash, hang or leave without a word; this process does not. The child is a session of
its own (so that a runtime's own children go with it), dies with its parent, works in an empty
directory, and gets an environment without secrets.
"""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import qgate
from qgate import errors
from qgate.errors import RuntimeFailed
from qgate.runtimes import wire

ProgressSink = Callable[[str, int, int], None]
"""sink(what, done, total), called about once a second while a request runs."""
Progressing = Callable[[], contextlib.AbstractContextManager[ProgressSink]]
"""Opened for each request; whatever shows progress can clear up when it ends."""

_SILENCE_S = 60.0
"""The child's heartbeat comes every second; none for so long means that it is frozen."""
_SECRET_WORDS = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "ACCESS_KEY")
_SETTINGS: Mapping[str, str] = MappingProxyType(
    {
        "OMP_WAIT_POLICY": "passive",  # spinning threads are up to 8 times slower on a busy machine
        "OPENBLAS_NUM_THREADS": "1",  # the reductions bring threads of their own
        "GGML_NO_BACKTRACE": "1",
        "HF_HUB_OFFLINE": "1",
        "PYTHONUTF8": "1",
        "PYTHONSAFEPATH": "1",
    }
)
# The package is loaded from its own directory, so that under another interpreter nothing else of
# this environment's site-packages comes along.
_BOOTSTRAP = """
import importlib.util, sys
where = sys.argv.pop(1)
spec = importlib.util.spec_from_file_location(
    "qgate", where + "/__init__.py", submodule_search_locations=[where])
sys.modules["qgate"] = package = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
from qgate.runtimes.worker import main
main()
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """How a child is started and how long it may be silent."""

    runtime: str
    python: str = sys.executable
    stall_s: float = 300.0
    """No progress for so long: the child hangs and is killed."""


class Host:
    """One child process serving one runtime; a context manager.

    Raises:
        RuntimeFailed: the child crashed, hung or left; carries its last words.
        QGateError: whatever the adapter itself reported, by the same class.
    """

    def __init__(
        self, settings: HostSettings, progress: Progressing | None = None
    ) -> None:
        self._settings = settings
        self._progress = progress or _unseen
        self._answers: queue.Queue[bytes | None] = queue.Queue()
        self._last_words: deque[str] = deque(maxlen=40)
        self._requests = 0
        self._directory = tempfile.mkdtemp(prefix="qgate-child-")
        self._child = self._start()
        assert self._child.stdout is not None
        assert self._child.stderr is not None
        self._readers = [
            _reader(self._read_answers, self._child.stdout),
            _reader(self._read_errors, self._child.stderr),
        ]

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._child.pid

    def call(self, verb: str, **args: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON and arrays
        """Send one request and wait for its result."""
        self._requests += 1
        request = {"id": self._requests, "verb": verb, "args": args}
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(wire.encode(request))
            self._child.stdin.flush()
        except OSError:
            raise self._lost(verb) from None
        with self._progress() as report:
            return self._wait(verb, report)

    def _wait(self, verb: str, report: ProgressSink) -> dict[str, Any]:
        stall_s = self._settings.stall_s
        stalled, frozen = _Deadline(stall_s), _Deadline(min(stall_s, _SILENCE_S))
        progress: tuple[str, int, int] = (verb, 0, 0)
        while True:
            try:
                line = self._answers.get(timeout=min(stalled.left_s(), frozen.left_s()))
            except queue.Empty:
                self._kill()
                how = f"no progress in {verb} for {stall_s:g} s" if stalled.left_s() <= 0 else (
                    f"no sign of life in {verb} for {_SILENCE_S:g} s"
                )
                raise self._failure(f"runtime hung: {how}") from None
            if line is None:
                raise self._lost(verb)
            frozen.renew()
            message = wire.decode(line)
            if message.get("id") == self._requests and "progress" not in message:
                return self._result(message)
            if "progress" in message:
                stalled.renew()
                said = message["progress"]
                progress = (str(said["what"]), int(said["done"]), int(said["total"]))
            report(*progress)

    def _result(self, message: dict[str, Any]) -> dict[str, Any]:
        if "result" in message:
            result: dict[str, Any] = message["result"]
            return result
        report = message.get("error") or {}
        kind = _KINDS.get(str(report.get("kind")), RuntimeFailed)
        text = " ".join(str(report.get("message", "no message")).split())
        if kind is RuntimeFailed:
            raise self._failure(text)
        raise kind(text)

    def _lost(self, verb: str) -> RuntimeFailed:
        self._child.wait()
        code = self._child.returncode
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (out of memory?)" if name == "SIGKILL" else ""
            return self._failure(f"runtime crashed: {name} in {verb}{hint}")
        return self._failure(f"runtime ended in {verb} without a result: exit code {code}")

    def _failure(self, message: str) -> RuntimeFailed:
        self._readers[1].join(timeout=1.0)
        words = [line for line in self._last_words if line.strip()]
        tail = f"; last words: {words[-1].strip()[:200]!r}" if words else ""
        return RuntimeFailed(message + tail, "\n".join(words))

    def close(self) -> None:
        """Ask the child to leave, then make it; its whole session goes with it."""
        with contextlib.suppress(OSError):
            if self._child.stdin is not None:
                self._child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout=2.0)
        self._kill()
        for reader in self._readers:
            reader.join(timeout=2.0)
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        package = str(Path(qgate.__file__).resolve().parent)
        command = [self._settings.python, "-P", "-c", _BOOTSTRAP, package, self._settings.runtime]
        try:
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self._directory,
                env=child_environment(os.environ),
                start_new_session=True,
            )
        except OSError as error:
            shutil.rmtree(self._directory, ignore_errors=True)
            raise errors.RuntimeUnavailable(
                f"runtime.python: cannot start {self._settings.python!r}: {error.strerror};"
                " expected a Python interpreter"
            ) from error

    def _read_answers(self, stream: IO[bytes]) -> None:
        for line in iter(lambda: stream.readline(wire.MAX_LINE_BYTES), b""):
            self._answers.put(line)
        self._answers.put(None)

    def _read_errors(self, stream: IO[bytes]) -> None:
        for line in iter(lambda: stream.readline(4096), b""):
            self._last_words.append(line.decode(errors="replace").rstrip())


_KINDS: Mapping[str, type[errors.QGateError]] = MappingProxyType(
    {
        kind.__name__: kind
        for kind in (
            errors.ArtifactError,
            errors.MeasurementError,
            errors.RuntimeFailed,
            errors.RuntimeUnavailable,
        )
    }
)


class _Deadline:
    """A moment that good news pushes back."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.renew()

    def renew(self) -> None:
        self._until = time.monotonic() + self._seconds

    def left_s(self) -> float:
        return max(self._until - time.monotonic(), 0.0)


def _unseen() -> contextlib.AbstractContextManager[ProgressSink]:
    return contextlib.nullcontext(lambda what, done, total: None)


def child_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The parent's environment without secrets, with what runtimes need to behave."""
    kept = {
        name: value
        for name, value in environ.items()
        if not any(word in name.upper() for word in _SECRET_WORDS)
    }
    return {**kept, **_SETTINGS}


def _reader(target: Callable[[IO[bytes]], None], stream: IO[bytes]) -> threading.Thread:
    thread = threading.Thread(target=target, args=(stream,), daemon=True)
    thread.start()
    return thread
