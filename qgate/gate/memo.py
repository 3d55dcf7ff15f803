"""What a run has found out, or why it could not: asked again, the same, at no cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from qgate.errors import QGateError

if TYPE_CHECKING:
    from collections.abc import Callable

Key = tuple[str, ...]
Result = TypeVar("Result")


class Memo:
    """Results by name, made when they are first asked for."""

    def __init__(self) -> None:
        self._found: dict[Key, Any] = {}

    def get_or_compute(self, key: Key, make: Callable[[], Result]) -> Result:
        """What `make` gives, made once; if it raises a QGateError, the same each time."""
        if key not in self._found:
            try:
                self._found[key] = make()
            except QGateError as error:
                self._found[key] = error
        found = self._found[key]
        if isinstance(found, QGateError):
            raise found
        result: Result = found
        return result

    def peek(self, key: Key) -> Any:  # noqa: ANN401 - whatever was made
        """What was made, None where nothing was, or nothing could be."""
        found = self._found.get(key)
        return None if isinstance(found, QGateError) else found
