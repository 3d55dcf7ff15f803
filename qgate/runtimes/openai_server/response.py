"""What a server sends is data that may be anything: read here, checked here, trusted afterwards."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import MeasurementError
from qgate.untrusted.text import quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LARGEST_ID = 2**31 - 1
_LONGEST_SHOWN = 200


def parse_json(raw: bytes, where: str) -> Any:  # noqa: ANN401 - JSON
    """JSON as the standard has it: no NaN.

    Raises:
        MeasurementError: it is none.
    """
    try:
        return json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        shown = quoted(raw[:_LONGEST_SHOWN].decode("utf-8", "replace"), 80)
        raise MeasurementError(f"{where}: got {shown}; expected JSON") from None


def reason_of(raw: bytes) -> str:
    """A refusal's own words, however it is wrapped."""
    said: Any = raw[: 64 * _LONGEST_SHOWN].decode("utf-8", "replace").strip()
    try:
        value = json.loads(said)
    except (ValueError, RecursionError):
        value = {}
    for name in ("error", "message", "detail"):
        if isinstance(value, dict) and value.get(name):
            said = value = value[name]
    text = said if isinstance(said, str) else json.dumps(said)
    return quoted(" ".join(text.split()), _LONGEST_SHOWN) if text else "without a word"


class Told:
    """One JSON object, its fields read as what they have to be.

    Raises:
        MeasurementError: a field is missing or something else.
    """

    def __init__(self, value: object, where: str) -> None:
        self._where = where
        if not isinstance(value, dict):
            raise self._wrong("the answer", value, "an object")
        self._value: Mapping[str, Any] = value

    def has(self, name: str) -> bool:
        return self._value.get(name) is not None

    def text(self, name: str) -> str:
        value = self._value.get(name)
        if not isinstance(value, str):
            raise self._wrong(name, value, "a text")
        return value

    def count(self, name: str) -> int:
        """A number of things."""
        value = self._value.get(name)
        if not isinstance(value, int) or not _is_count(value):
            raise self._wrong(name, value, "a number of things")
        return value

    def number(self, name: str) -> float:
        value = self._value.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._wrong(name, value, "a finite number")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise self._wrong(name, value, "a finite number")
        return number

    def is_set(self, name: str) -> bool:
        return self._value.get(name) is True

    def within(self, name: str) -> Told:
        return Told(self._value.get(name), f"{self._where}: {name}")

    def entries(self, name: str) -> Sequence[object]:
        value = self._value.get(name)
        if not isinstance(value, list):
            raise self._wrong(name, value, "a list")
        return value

    def told(self, name: str) -> tuple[Told, ...]:
        where = f"{self._where}: {name}"
        return tuple(Told(entry, f"{where}[{at}]") for at, entry in enumerate(self.entries(name)))

    def only(self, name: str) -> Told:
        """The one entry of a list."""
        entries = self.told(name)
        if len(entries) != 1:
            raise MeasurementError(f"{self._where}: {name}: got {len(entries)}; expected 1")
        return entries[0]

    def ids(self, name: str) -> tuple[int, ...]:
        """Token ids."""
        found: list[int] = []
        for value in self.entries(name):
            if not _is_count(value) or not isinstance(value, int) or value > _LARGEST_ID:
                raise self._wrong(name, value, "token ids")
            found.append(value)
        return tuple(found)

    def texts(self, name: str) -> tuple[str, ...]:
        entries = self.entries(name)
        for value in entries:
            if not isinstance(value, str):
                raise self._wrong(name, value, "texts")
        return tuple(map(str, entries))

    def numbers(self) -> dict[str, float]:
        """All fields, finite numbers each."""
        return {name: self.number(name) for name in self._value}

    def _wrong(self, name: str, value: object, expected: str) -> MeasurementError:
        got = "nothing" if value is None else quoted(str(value))
        return MeasurementError(f"{self._where}: {name}: got {got}; expected {expected}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
