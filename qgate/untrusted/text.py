"""How text from an artifact gets into a message: on one line, short, harmless to a terminal."""

from __future__ import annotations

_LONGEST_NUMBER = 30
_LONGEST_TEXT = 2000


def printable(text: str) -> str:
    r"""Escape what is not printable: control and direction characters, lone surrogates.

    >>> printable("a\nb\x1b[31m")
    'a\\nb\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    """The text as it is, escaped, and cut after `longest` characters."""
    cut = printable(text[:longest])
    return cut if len(text) <= longest and len(cut) <= longest else cut[:longest] + "…"


def quoted(text: str, longest: int = 60) -> str:
    """`'text'`, escaped and cut after `longest` characters."""
    cut = text if len(text) <= longest else text[:longest] + "…"
    return f"'{printable(cut)}'"


def seen(value: object) -> str:
    """What a JSON value is, for a message: a number or a text as it is, unless it is long."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        digits = str(value)
        return digits if len(digits) <= _LONGEST_NUMBER else f"a number of {len(digits)} digits"
    if isinstance(value, str):
        return quoted(value)
    return "a list" if isinstance(value, list) else "an object"


def listed(names: list[str], most: int = 3) -> str:
    """The first names, escaped, and how many there are beyond."""
    shown = ", ".join(printable(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
