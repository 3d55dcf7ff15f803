"""JSON lines that a thresholds file names, read so that every complaint knows its line.

One object a line, UTF-8, blank lines skipped. What hides a mistake is refused: NaN and infinity, a
key twice, half of a surrogate pair, which no tokenizer takes. Nothing heavy is imported, because
files are read while pytest collects.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.errors import ThresholdsError
from qgate.thresholds.values import shown as quoted
from qgate.untrusted.json import NotJson, strict_json
from qgate.untrusted.text import seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_LARGEST_FILE_BYTES = 64 * 1024 * 1024
_LONGEST_LINE_BYTES = 1024 * 1024
_MOST_ROWS = 100_000
_MOST_LISTED = 8
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line's object and what it takes to complain about it."""

    shown: str
    line: int
    """Counted from 1, blank lines included."""
    values: dict[str, object]

    def error(self, message: str) -> ThresholdsError:
        return ThresholdsError(f"{self.shown}:{self.line}: {message}")

    def text(self, key: str) -> str:
        """The text under a key.

        Raises:
            ThresholdsError: no such key, not a text, nothing but white space.
        """
        if key not in self.values:
            raise self.error(
                f"no {key}: got the keys {listed(self.values)}; expected {quoted(key)}."
            )
        return self.checked(key, self.values[key])

    def checked(self, where: str, value: object) -> str:
        """A value that was found at `where`, if it is a text that says something."""
        if not isinstance(value, str):
            remedy = " Write it in quotes." if isinstance(value, int | float) else ""
            raise self.error(f"{where}: got {seen(value)}; expected a text.{remedy}")
        if not value.strip():
            raise self.error(f"{where}: got {quoted(value)}; expected a text that is not blank.")
        if not is_whole(value):
            raise self.error(
                f"{where}: got half of a surrogate pair in {quoted(value)}; "
                "expected whole characters."
            )
        return value


def is_whole(text: str) -> bool:
    """Whether every character can be written in UTF-8."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(words: Iterable[str]) -> str:
    """The words in quotes, the first few of many; `none` of none."""
    all_words = list(words)
    rest = ", ..." if len(all_words) > _MOST_LISTED else ""
    return ", ".join(quoted(word) for word in all_words[:_MOST_LISTED]) + rest or "none"


def most_often(words: Iterable[str]) -> str:
    """The word that is there most often, the first of equals."""
    return Counter(words).most_common(1)[0][0]


def read_rows(path: Path, shown: str, example: str) -> list[Row]:
    """Read every row of a file.

    Args:
        path: the file.
        shown: what messages call it.
        example: a line as it should be, for the message on a file that holds none.

    Raises:
        ThresholdsError: no such file, unreadable, too large, a line that is not UTF-8, not JSON,
            not an object, or too long; no row at all.
    """
    expected = f"expected JSON lines such as {example}"
    if not path.is_file():
        problem = "is not a file" if path.exists() else "no such file"
        raise ThresholdsError(f"{shown}: {problem}; {expected}.")
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise ThresholdsError(f"{shown}: cannot be read: {error.strerror}; {expected}.") from None
    if len(data) > _LARGEST_FILE_BYTES:
        raise ThresholdsError(
            f"{shown}: too large: got more than {_LARGEST_FILE_BYTES} bytes; expected at most that."
            " Name a part of it."
        )
    rows = list(_rows(data.removeprefix(_BOM), shown))
    if not rows:
        raise ThresholdsError(f"{shown}:1: got nothing but blank lines; {expected}.")
    return rows


def _rows(data: bytes, shown: str) -> Iterator[Row]:
    count = 0
    for number, line in enumerate(io.BytesIO(data), 1):
        if line.isspace():
            continue
        where = f"{shown}:{number}"
        count += 1
        if count > _MOST_ROWS:
            raise ThresholdsError(
                f"{where}: too many lines: got more than {_MOST_ROWS}; expected at most that."
                " Name a part of it."
            )
        yield Row(shown=shown, line=number, values=_object(line, where))


def _object(line: bytes, where: str) -> dict[str, object]:
    if len(line) > _LONGEST_LINE_BYTES:
        raise ThresholdsError(
            f"{where}: line too long: got {len(line)} bytes; "
            f"expected at most {_LONGEST_LINE_BYTES}."
        )
    try:
        value = strict_json(line)
    except NotJson as error:
        raise ThresholdsError(f"{where}: {error}.") from None
    if not isinstance(value, dict):
        raise ThresholdsError(f"{where}: got {seen(value)}; expected an object.")
    return value
