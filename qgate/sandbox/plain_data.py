"""Plain data between a program and its checks, as tagged JSON. Runs inside the sandbox.

What is read is built anew by who reads it, from exact types alone: None, bool, int, float, complex,
str, bytes, list, tuple, dict, set, frozenset, and those of the standard library that are values.
Nothing is unpickled, and no object of the other side is there to be asked whether it is equal.
Standard library only: this file is handed to the interpreter as text.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_BYTES = 64 << 20
"""Of one message."""
_DEEPEST = 100
_SMALL = 1 << 53
_HEADER_BYTES = 4
_MANY: dict[type, str] = {tuple: "tuple", set: "set", frozenset: "frozenset"}


def _time(value: Any) -> list[object]:  # noqa: ANN401 - of a time or a datetime
    return [value.hour, value.minute, value.second, value.microsecond, value.tzinfo]


_VALUES: dict[str, Callable[[Any], list[object]]] = {
    "builtins.bytearray": lambda value: [bytes(value)],
    "builtins.complex": lambda value: [value.real, value.imag],
    "builtins.range": lambda value: [value.start, value.stop, value.step],
    "collections.Counter": lambda value: [dict(value)],
    "collections.OrderedDict": lambda value: [list(value.items())],
    "collections.defaultdict": lambda value: [None, dict(value)],
    "collections.deque": lambda value: [list(value), value.maxlen],
    "decimal.Decimal": lambda value: [str(value)],
    "fractions.Fraction": lambda value: [value.numerator, value.denominator],
    "datetime.date": lambda value: [value.year, value.month, value.day],
    "datetime.datetime": lambda value: [value.year, value.month, value.day, *_time(value)],
    "datetime.time": lambda value: _time(value),
    "datetime.timezone": lambda value: list(value.__getinitargs__()),
    "datetime.timedelta": lambda value: [value.days, value.seconds, value.microseconds],
}
"""What makes each value again; subclasses are other types."""


class Broken(Exception):  # noqa: N818 - a state
    """The other side has gone, or says what is no message."""


class Channel:
    """Messages over two pipes, each a length and JSON."""

    def __init__(self, reads: int, writes: int) -> None:
        self._reads, self._writes = reads, writes

    def send(self, message: object) -> None:
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MOST_BYTES:
            raise ValueError(f"got {len(data)} bytes of plain data; expected at most {MOST_BYTES}")
        left = memoryview(len(data).to_bytes(_HEADER_BYTES, "big") + data)
        while left:
            left = left[os.write(self._writes, left) :]

    def receive(self) -> Any:  # noqa: ANN401 - JSON
        size = int.from_bytes(self._read(_HEADER_BYTES), "big")
        if size > MOST_BYTES:
            raise Broken("a message is too long")
        try:
            return json.loads(self._read(size))
        except (ValueError, RecursionError) as error:
            raise Broken("a message is no JSON") from error

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = os.read(self._reads, min(size - len(parts), 1 << 16))
            if not part:
                raise Broken("the other side has ended")
            parts += part
        return bytes(parts)

    def close(self) -> None:
        os.close(self._reads)
        os.close(self._writes)


def encode(value: Any, other: Callable[[Any], object], depth: int = 0) -> object:  # noqa: ANN401
    """A value as JSON.

    Args:
        value: what is said.
        other: what is said in place of a value that is no plain data.
        depth: how many containers are around it.
    """
    kind = type(value)
    if value is None or kind in (bool, str, float):
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else {"int": hex(value)}
    if kind is bytes:
        return {"bytes": value.hex()}
    if depth > _DEEPEST:
        return other(value)
    if kind is list:
        return [encode(one, other, depth + 1) for one in value]
    if kind in _MANY:
        return {_MANY[kind]: [encode(one, other, depth + 1) for one in value]}
    if kind is dict:
        return {"dict": [[encode(one, other, depth + 1) for one in pair] for pair in value.items()]}
    name = _name_of(kind)
    if name in _VALUES and _has_plain_zone(value):
        return {name: [encode(one, other, depth + 1) for one in _VALUES[name](value)]}
    return other(value)


def _has_plain_zone(value: Any) -> bool:  # noqa: ANN401 - a value of any kind
    """Whether it is no time, or one whose zone is plain data, too."""
    zone = getattr(value, "tzinfo", None)
    return zone is None or _name_of(type(zone)) == "datetime.timezone"


def is_plain(kind: type) -> bool:
    """Whether values of a type are plain data, but for what they hold and how deep it lies."""
    return kind in (list, dict) or kind in _MANY or _name_of(kind) in _VALUES


def _name_of(kind: type) -> str:
    """`module.name` of a class that is really found there, else an empty text."""
    name, module = type.__getattribute__(kind, "__name__"), kind.__module__
    found = getattr(sys.modules.get(str(module)), name, None)
    return f"{module}.{name}" if found is kind else ""


def decode(said: Any, other: Callable[[str, Any], object]) -> Any:  # noqa: ANN401 - any value
    """The value of what `encode` made, in exact types.

    Args:
        said: JSON of the other side.
        other: the value of what is no plain data, by its tag and what is said of it.

    Raises:
        Broken: it is nothing that `encode` makes.
    """
    if said is None or type(said) in (bool, str, float, int):
        return said
    if type(said) is list:
        return [decode(one, other) for one in said]
    if type(said) is not dict or len(said) != 1:
        raise Broken("a message has no such values")
    (tag, content), *_ = said.items()
    try:
        return _decoded(tag, content, other)
    except (ValueError, TypeError, ArithmeticError, AttributeError) as error:
        raise Broken("a message has no such values") from error


def _decoded(tag: str, content: Any, other: Callable[[str, Any], object]) -> Any:  # noqa: ANN401
    if tag == "int":
        return int(content, 16)
    if tag == "bytes":
        return bytes.fromhex(content)
    for kind, name in _MANY.items():
        if tag == name:
            return kind(decode(one, other) for one in content)
    if tag == "dict":
        return {decode(key, other): decode(value, other) for key, value in content}
    if tag in _VALUES:
        module, _, name = tag.rpartition(".")
        made = getattr(__import__(module), name)
        return made(*(decode(one, other) for one in content))
    return other(tag, content)
