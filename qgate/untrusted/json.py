"""Foreign JSON: strict, bounded in bytes and values, and read field by field with suspicion."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, TypeVar

from qgate.errors import ArtifactError, QGateError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable, seen

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Made = TypeVar("Made")

MAX_CONFIG_BYTES = 10_000_000
MAX_CONFIG_MARKS = 1 << 20
_LARGEST = sys.float_info.max
"""Brackets, braces and commas: each costs up to 100 bytes once it is parsed."""


def read_object(
    path: Path, most_bytes: int = MAX_CONFIG_BYTES, most_marks: int = MAX_CONFIG_MARKS
) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        ArtifactError: unreadable, too large, or not such a file; nothing else is ever raised.
    """
    where = printable(str(path))
    raw = read_bytes(path, most_bytes)
    value = parse_json(raw, where, most_marks)
    if not isinstance(value, dict):
        raise ArtifactError(f"{where}: got {type(value).__name__}; expected an object.")
    return value


def read_bytes(path: Path, most_bytes: int = MAX_CONFIG_BYTES) -> bytes:
    """Read a whole small file.

    Raises:
        ArtifactError: unreadable or too large.
    """
    where = printable(str(path))
    with open_regular(path) as file:
        try:
            raw = file.read(most_bytes + 1)
        except OSError as error:
            raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    if len(raw) > most_bytes:
        raise ArtifactError(f"{where}: expected <= {most_bytes} bytes.")
    return raw


def parse_json(raw: bytes, where: str, most_marks: int = MAX_CONFIG_MARKS) -> Any:  # noqa: ANN401 - JSON
    """Parse UTF-8 text; duplicate keys, NaN and too many values are refused.

    Raises:
        ArtifactError: not such a text; the message begins with `where`.
    """
    n_marks = sum(raw.count(mark) for mark in (b"[", b"{", b","))
    if n_marks > most_marks:
        got = f"got {n_marks} brackets and commas; expected <= {most_marks}"
        raise ArtifactError(f"{where}: too many values: {got}.")
    try:
        return strict_json(raw)
    except ValueError as error:
        raise ArtifactError(f"{where}: not valid JSON: {printable(str(error))[:200]}.") from error


def strict_json(raw: bytes) -> Any:  # noqa: ANN401 - JSON
    """Parse UTF-8 text as the standard has it: no NaN, no infinity, no key twice.

    Raises:
        ValueError: anything else; the message says what.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
        )
    except RecursionError:
        raise ValueError("too many levels") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"duplicate key {name[:60]!r}")
        seen[name] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:20]} is too large")
    return number


def _is_finite(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= _LARGEST


class Fields:
    """One object of foreign JSON: each field is read as what it has to be, or refused by its place.

    Args:
        value: what was found.
        where: its place, which a message begins with.
        raises: the kind of error.
        remedy: how a message ends.
    """

    def __init__(
        self, value: object, where: str, raises: type[QGateError], remedy: str = ""
    ) -> None:
        self.where, self._raises, self._remedy = where, raises, remedy
        if not isinstance(value, dict):
            raise self.error(f"got {seen(value)}; expected an object")
        self.values: dict[str, Any] = value

    def error(self, problem: str) -> QGateError:
        """What is wrong here, for the caller to raise."""
        return self._raises(f"{self.where}: {problem}.{self._remedy}")

    def has(self, name: str) -> bool:
        """Whether there is something but null."""
        return self.values.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        return self._typed(name, str, "a text", default)

    def flag(self, name: str) -> bool:
        """False where it is absent."""
        return self._typed(name, bool, "true or false", default=False)

    def count(self, name: str) -> int:
        """An integer, 0 or more."""
        value = self.values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise self._wrong(name, "an integer >= 0")
        return value

    def number(self, name: str) -> float:
        """A finite number, an integer as it is."""
        value = self.values.get(name)
        if not _is_finite(value):
            raise self._wrong(name, "a finite number")
        return value

    def numbers(self) -> dict[str, float]:
        """All fields, numbers each."""
        return {name: self.number(name) for name in self.values}

    def texts(self) -> dict[str, str]:
        """All fields, texts each."""
        return {name: self.text(name) for name in self.values}

    def items(self, name: str, default: list[Any] | None = None) -> list[Any]:
        return self._typed(name, list, "a list", default)

    def texts_in(self, name: str, default: list[Any] | None = None) -> tuple[str, ...]:
        """A list of texts."""
        values = self.items(name, default)
        if not all(isinstance(value, str) for value in values):
            raise self._wrong(name, "texts")
        return tuple(values)

    def numbers_in(self, name: str) -> tuple[float, ...]:
        """A list of finite numbers."""
        values = self.items(name)
        if not all(_is_finite(value) for value in values):
            raise self._wrong(name, "finite numbers")
        return tuple(values)

    def object(self, name: str, default: dict[str, Any] | None = None) -> Fields:
        value = self._typed(name, dict, "an object", default)
        return Fields(value, self._place(name), self._raises, self._remedy)

    def objects(self, name: str, default: list[Any] | None = None) -> list[Fields]:
        place = self._place(name)
        return [
            Fields(one, f"{place}[{at}]", self._raises, self._remedy)
            for at, one in enumerate(self.items(name, default))
        ]

    def make(self, kind: Callable[..., Made], **fields: Any) -> Made:  # noqa: ANN401 - its fields
        """Build it; what its own rules refuse is named with the place."""
        try:
            return kind(**fields)
        except ValueError as error:
            raise self.error(str(error)) from None

    def _typed(self, name: str, kind: type[Made], word: str, default: Made | None = None) -> Made:
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, kind):
            raise self._wrong(name, word)
        return value

    def _place(self, name: str) -> str:
        return f"{self.where}.{name}" if name.isidentifier() else f"{self.where}[{name!r:.60}]"

    def _wrong(self, name: str, expected: str) -> QGateError:
        return self.error(f"{name}: got {seen(self.values.get(name))}; expected {expected}")
