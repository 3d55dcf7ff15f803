"""Foreign JSON: strict, bounded in bytes and values, and read field by field with suspicion."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import EnumType
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    NoReturn,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from qgate.errors import ArtifactError, QGateError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable, quoted, seen

if TYPE_CHECKING:
    from pathlib import Path

Made = TypeVar("Made")

MAX_CONFIG_BYTES = 10_000_000
MAX_CONFIG_MARKS = 1 << 20
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
    except NotJson as error:
        raise ArtifactError(f"{where}: {error}.") from error


class NotJson(ValueError):  # noqa: N818 - a state of a text
    """What is wrong, as `not JSON: got ...; expected ...`."""


def strict_json(raw: bytes) -> Any:  # noqa: ANN401 - JSON
    """Parse UTF-8 text as the standard has it: no NaN, no infinity, no key twice.

    Raises:
        NotJson: anything else.
    """
    try:
        return json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_parse_finite,
        )
    except NotJson:
        raise
    except UnicodeDecodeError as error:
        byte = f"byte 0x{raw[error.start]:02x}"
        raise NotJson(f"not UTF-8: got {byte}; expected UTF-8 text") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if b"\n" in raw.rstrip() else ""
        at = f"{line}column {error.colno}"
        raise NotJson(f"not JSON: got '{error.msg}' at {at}; expected an object") from None
    except (ValueError, RecursionError) as error:
        what = "levels" if isinstance(error, RecursionError) else "digits in a number"
        raise NotJson(f"not JSON: got too many {what}; expected a short object") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise NotJson(f"not JSON: got the key {quoted(twice)} twice; expected every key once")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise NotJson(f"not JSON: got {name}; expected finite numbers")


def _parse_finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        _refuse_constant(digits[:20])
    return number


class Fields:
    """One object of foreign JSON: each field is read as what it has to be, or refused by its place.

    Args:
        value: what was found.
        where: the file or address, which a message begins with.
        raises: the kind of error.
        remedy: how a message ends.
        place: where in it this object is; empty for the outermost.
    """

    def __init__(
        self,
        value: object,
        where: str,
        raises: type[QGateError],
        remedy: str = ".",
        place: str = "",
    ) -> None:
        self._where, self._raises, self._remedy, self._place = where, raises, remedy, place
        if not isinstance(value, dict):
            got = "nothing" if value is None else seen(value)
            raise self.error(f"got {got}; expected an object")
        self.values: dict[str, Any] = value

    def error(self, problem: str) -> QGateError:
        """What is wrong here, for the caller to raise."""
        place = f"{self._place}: " if self._place else ""
        return self._raises(f"{self._where}: {place}{problem}{self._remedy}")

    def has(self, name: str) -> bool:
        """Whether there is something but null."""
        return self.values.get(name) is not None

    def get(self, name: str, hint: Any, default: Any = None) -> Any:  # noqa: ANN401 - by its hint
        """One field.

        Args:
            name: its key.
            hint: what it has to be: a type of Python or of this project, `tuple[float, ...]`,
                `Mapping[str, str]`, a dataclass. Integers are counts, numbers are finite.
            default: in the place of null or nothing; None: it has to be there.
        """
        if default is not None and not self.has(name):
            return default
        return self._convert(name, self.values.get(name), hint)

    def inner(self, name: str) -> Self:
        """A field that is an object."""
        return self._inner(name, self.values.get(name))

    def objects(self, name: str) -> list[Self]:
        """A list of objects."""
        found = self.get(name, tuple[Any, ...])
        return [self._inner(f"{name}[{at}]", one) for at, one in enumerate(found)]

    def read(self, kind: type[Made], **known: Any) -> Made:  # noqa: ANN401 - its fields
        """A dataclass of the fields here, by their names; what it has a default for may be absent.

        Args:
            kind: the dataclass.
            known: fields that are no field here.
        """
        for name, hint, is_needed in _fields_of(cast("Any", kind)):
            if name not in known and (is_needed or self.has(name)):
                known[name] = self._convert(name, self.values.get(name), hint)
        try:
            return kind(**known)
        except ValueError as error:
            raise self.error(str(error)) from None

    def _inner(self, name: str, value: object) -> Self:
        place = printable(f"{self._place}.{name}" if self._place else name)[:200]
        return type(self)(value, self._where, self._raises, self._remedy, place)

    def _convert(self, name: str, value: Any, hint: Any) -> Any:  # noqa: ANN401 - by its hint
        kind, parts = get_origin(hint) or hint, get_args(hint)
        if kind is Any or (value is None and NoneType in parts):
            return value
        if kind in (UnionType, Union):
            return self._convert(name, value, next(one for one in parts if one is not NoneType))
        if kind is tuple and isinstance(value, list):
            numbered = enumerate(value)
            return tuple(self._convert(f"{name}[{at}]", one, parts[0]) for at, one in numbered)
        if kind in (Mapping, dict) and isinstance(value, dict):
            pairs = value.items()
            return {key: self._convert(f"{name}.{key}", one, parts[1]) for key, one in pairs}
        if isinstance(kind, type) and dataclasses.is_dataclass(kind):
            return self._inner(name, value).read(kind)
        is_enum = isinstance(kind, EnumType)
        choices: Sequence[Any] = [one.value for one in cast("Any", kind)] if is_enum else parts
        if kind in _KINDS and _KINDS[kind][1](value):
            return value
        if kind not in _KINDS and value in choices:
            return kind(value) if is_enum else value
        expected = _KINDS[kind][0] if kind in _KINDS else f"one of {', '.join(map(str, choices))}"
        got = "nothing" if value is None else seen(value)
        raise self.error(f"{printable(name)[:80]}: got {got}; expected {expected}")


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max  # type: ignore[arg-type]  # a number


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


_KINDS: Mapping[Any, tuple[str, Callable[[object], bool]]] = MappingProxyType(
    {
        str: ("a text", lambda value: isinstance(value, str)),
        bool: ("true or false", lambda value: isinstance(value, bool)),
        int: ("an integer >= 0", _is_count),
        float: ("a finite number", _is_finite),
        tuple: ("a list", lambda _: False),
        Mapping: ("an object", lambda _: False),
        dict: ("an object", lambda _: False),
    }
)
"""What a message calls it, and whether a value is one; lists and objects are read part by part."""


@cache
def _fields_of(kind: Any) -> list[tuple[str, Any, bool]]:  # noqa: ANN401 - a dataclass
    """Name, type and whether it has to be there, of each field of a dataclass."""
    hints, absent = get_type_hints(kind), dataclasses.MISSING
    return [
        (one.name, hints[one.name], one.default is absent and one.default_factory is absent)
        for one in dataclasses.fields(kind)
    ]
