"""A child that may crash once: what every later row rests on is started a second time.

An artifact's own child is not: that it crashes is what the gate has to show.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError, RuntimeFailed, reworded
from qgate.runtimes.host import Host
from qgate.runtimes.verbs import LOAD

if TYPE_CHECKING:
    from collections.abc import Callable


class RestartingHost(Host):
    """A host whose child, where it crashed, is started once more and asked the same again.

    Args:
        start: starts a child.
    """

    def __init__(self, start: Callable[[], Host]) -> None:
        self._start, self._host = start, start()
        self._loaded: object = None
        self._first: RuntimeFailed | None = None

    @property
    def runtime(self) -> str:
        return self._host.runtime

    @property
    def pid(self) -> int:
        return self._host.pid

    def call(self, verb: str, request: object) -> Any:  # noqa: ANN401 - JSON and arrays
        """As a host does.

        Raises:
            RuntimeFailed: it failed again; the message has the first cause, too.
        """
        try:
            return self._call(verb, request)
        except RuntimeFailed as error:
            if not self._host.has_crashed:
                raise
            if self._first is not None:
                raise self._again(error) from error
            self._first = error
        self._host.close()
        self._host = self._start()
        try:
            if self._loaded is not None and verb != LOAD.name:
                self._host.call(LOAD.name, self._loaded)
            return self._call(verb, request)
        except RuntimeFailed as error:
            raise self._again(error) from error

    def _again(self, error: RuntimeFailed) -> QGateError:
        return reworded(error, f"{error} (started again after: {self._first})")

    def _call(self, verb: str, request: object) -> Any:  # noqa: ANN401 - JSON and arrays
        found = self._host.call(verb, request)
        if verb == LOAD.name:
            self._loaded = request
        return found

    @property
    def has_crashed(self) -> bool:
        return self._host.has_crashed

    def close(self) -> None:
        self._host.close()
