"""Text from strangers made fit to show: ids and messages may hold whatever a model file says.

A terminal obeys escape sequences, a CI log obeys workflow commands, Markdown obeys nearly
everything. Each place has its own escape here, and nothing from an artifact is shown without one.
"""

from __future__ import annotations

import re
import unicodedata

from qgate.untrusted.text import printable


def escape_line(text: str) -> str:
    """Return `text` as one printable line.

    Control characters, newlines, bidirectional overrides and zero-width characters become their
    Python escapes; GitHub's workflow commands (`::` at the start, `##[` anywhere) lose their force.
    """
    spaced = "".join(" " if unicodedata.category(one) == "Zs" else one for one in text)
    shown = printable(spaced)
    shown = shown.replace("##[", "\\x23#[")
    # the runner trims the line before it looks for a command
    return re.sub(r"^(\s*)::", r"\1\\x3a:", shown)


# GitHub resolves mentions, issue numbers and links after it has decoded entities: only a zero-width
# space between the characters stops them.
_BREAK = "&#8203;"
_MARKDOWN = (
    ("&", "&amp;"),
    ("\\", "\\\\"),
    ("<", "&lt;"),
    (">", "&gt;"),
    ("@", f"@{_BREAK}"),
    ("://", f":{_BREAK}//"),
    *((character, f"\\{character}") for character in "|`[]*~!"),
)


def escape_markdown(text: str) -> str:
    """Return `text` as one line that Markdown shows and does not obey, also in a table cell."""
    shown = escape_line(text)
    for character, replacement in _MARKDOWN:
        shown = shown.replace(character, replacement)
    # an issue reference; the `#` of the entities above always follows an ampersand
    return re.sub(r"(?<!&)#(?=\d)", f"#{_BREAK}", shown)


def count_cells(text: str) -> int:
    """Count the terminal columns of an escaped text; East Asian wide characters take two."""
    return sum(
        0
        if unicodedata.combining(character)
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )


def pad(text: str, width: int) -> str:
    """Fill `text` with spaces to `width` columns."""
    return text + " " * max(0, width - count_cells(text))


def cut_middle(text: str, width: int) -> str:
    """Shorten `text` to `width` columns; the ends of a model's name are what tells it apart."""
    if count_cells(text) <= width:
        return text
    head: list[str] = list(text)
    tail: list[str] = []
    while head and count_cells("".join(head)) > (width - 1) // 2:
        tail.insert(0, head.pop())
    while tail and count_cells("".join((*head, *tail))) > width - 1:
        tail.pop(0)
    return "".join((*head, "…", *tail))


def wrap(text: str, width: int) -> list[str]:
    """Break an escaped text into lines, later ones set in; a word too long for one is cut."""
    indent = "  "
    lines = [""]
    for word in text.split(" "):
        lead = " " if lines[-1].strip() else ""
        if lead and count_cells(lines[-1] + lead + word) > width:
            lines.append(indent)
            lead = ""
        lines[-1] += lead + cut_middle(word, width - len(indent))
    return lines


def format_bytes(size_bytes: float) -> str:
    """Return a size in decimal units, as file managers and model hubs show it."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes:.0f} B"


def format_count(count: int) -> str:
    """Return a count with its thousands apart: `16 320`."""
    return f"{count:,}".replace(",", " ")


def cut_lines(text: str, most_bytes: int, note: str) -> str:
    """Shorten `text` to whole lines and `note` behind them: `most_bytes` in UTF-8 at most.

    Where not even the note fits nothing is left.
    """
    data = text.encode(errors="replace")
    if len(data) <= most_bytes:
        return text
    room = most_bytes - len(note.encode())
    if room < 0:
        return ""
    return data[:room].decode(errors="ignore").rpartition("\n")[0] + note
