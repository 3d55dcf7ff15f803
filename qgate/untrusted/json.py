"""JSON that nobody vouches for: strict, bounded in bytes and in the objects it may become."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from qgate.errors import ArtifactError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from pathlib import Path

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
        return json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{where}: not valid JSON: {printable(str(error))[:200]}.") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in pairs:
        if name in seen:
            raise ValueError(f"duplicate key {name[:60]!r}")
        seen[name] = value
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
