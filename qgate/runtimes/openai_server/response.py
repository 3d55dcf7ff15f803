"""What a server sends is data that may be anything: read here, checked here, trusted afterwards."""

from __future__ import annotations

import json
from typing import Any

from qgate.errors import MeasurementError, QGateError
from qgate.untrusted.json import Fields, strict_json
from qgate.untrusted.text import quoted

_LARGEST_ID = 2**31 - 1
_LONGEST_SHOWN = 200


def parse_json(raw: bytes, where: str) -> Any:  # noqa: ANN401 - JSON
    """JSON as the standard has it.

    Raises:
        MeasurementError: it is none.
    """
    try:
        return strict_json(raw)
    except ValueError:
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


class JsonFields(Fields):
    """One JSON object of an answer; what is missing or something else is a MeasurementError."""

    def __init__(
        self,
        value: object,
        where: str,
        raises: type[QGateError] = MeasurementError,
        remedy: str = "",
        place: str = "",
    ) -> None:
        super().__init__(value, where, raises, remedy, place)

    def text(self, name: str) -> str:
        return str(self.get(name, str))

    def count(self, name: str) -> int:
        """A number of things."""
        return int(self.get(name, int))

    def number(self, name: str) -> float:
        return float(self.get(name, float))

    def is_set(self, name: str) -> bool:
        return self.values.get(name) is True

    def only(self, name: str) -> JsonFields:
        """The one entry of a list."""
        entries = self.objects(name)
        if len(entries) != 1:
            raise self.error(f"{name}: got {len(entries)}; expected 1")
        return entries[0]

    def ids(self, name: str) -> tuple[int, ...]:
        """Token ids."""
        found: tuple[int, ...] = self.get(name, tuple[int, ...])
        if max(found, default=0) > _LARGEST_ID:
            raise self.error(f"{name}: got {max(found)}; expected token ids")
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        found: tuple[str, ...] = self.get(name, tuple[str, ...])
        return found

    def numbers(self) -> dict[str, float]:
        """All fields, finite numbers each."""
        return {name: self.number(name) for name in self.values}
