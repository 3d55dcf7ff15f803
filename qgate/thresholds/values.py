"""Words on what somebody wrote: on one line, the nearest valid word, how to write a number."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable

PLAIN_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
_LONGEST_SHOWN = 60
_LEAST_PERCENT_OF_REFERENCE = 50.0
"""From here a percentage of a ratio means all of it (95 %), below what comes on top (5 %)."""
_UNIT_NOTES = {
    "perplexity": "artifact - reference",
    "ratio": "artifact / reference",
    "nats": "nats",
    "fraction": "0.9 is 90 %",
    "difference": "0.02 is 2 percentage points",
    "GiB": "2**30 bytes",
}


def shown(text: str) -> str:
    """What somebody wrote, quoted, on one line, not too long, and without a password in it."""
    without_login = re.sub(r"(?<=://)[^/\s]*@", "...@", text)
    return repr(cut(re.sub(r"(://[^\s?#]*[?#])\S+", r"\1...", without_login)))


def cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def did_you_mean(text: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing where no valid word is near."""
    near = difflib.get_close_matches(text[:_LONGEST_SHOWN], list(valid), n=1, cutoff=0.6)
    return f" Did you mean '{near[0]}'?" if near else ""


def unit_note(unit: str) -> str:
    """What a number in this unit is, in parentheses with a leading space; or nothing."""
    return f" ({_UNIT_NOTES[unit]})" if unit in _UNIT_NOTES else ""


def how_to_write(text: str, unit: str) -> str:
    """The remedy for a text that is nearly a number, with a leading space; or nothing."""
    for pattern, remedy in _NEARLY_NUMBERS:
        match = re.fullmatch(pattern, text.strip())
        if match:
            return f" {remedy(match, unit)}"
    return " Write a plain decimal number such as 0.5, 3 or 1.5e-3."


def _percent(match: re.Match[str], unit: str) -> str:
    percent = float(match[1])
    if unit in ("fraction", "difference"):
        return f"Write {percent / 100:g} for {percent:g} %."
    if unit == "ratio" and percent >= _LEAST_PERCENT_OF_REFERENCE:
        return f"Write {percent / 100:g} for {percent:g} % of the reference."
    if unit == "ratio":
        return f"Write {1 + percent / 100:g} for {percent:g} % more."
    return "Percent has no meaning here; write the number in the unit of the check."


def _without_unit(match: re.Match[str], unit: str) -> str:
    if unit == "GiB":
        return "The key names the unit: write the number of GiB alone, as vram_gib or ram_gib."
    if unit == "difference" and match[2].startswith("p"):
        return f"Write {float(match[1]) / 100:g} for {match[1]} percentage points."
    if unit in ("bytes", "ms") and match[2] != unit:
        return f"Write the number of {unit} alone."
    return f"Write the number alone: {match[1]}."


Remedy = Callable[[re.Match[str], str], str]
_NEARLY_NUMBERS: tuple[tuple[str, Remedy], ...] = (
    (PLAIN_NUMBER.pattern, lambda match, _: f"Write {match[0]}, without quotes."),
    (r"([0-9.]*[0-9])\s*%", _percent),
    (r"0[xob][0-9a-fA-F_]+", lambda *_: "Write it in decimal."),
    (r"([0-9]*\.?[0-9]+)\s*([A-Za-z/]+)", _without_unit),
    (r"[0-9]+(:[0-9]+)+", lambda *_: "A colon between digits means base 60 to YAML."),
    (r"[+-]?0[0-9]+", lambda *_: "A leading zero means base 8 to YAML."),
    (r"[0-9][0-9_]*_[0-9_.]*", lambda match, _: f"Write {match[0].replace('_', '')}."),
    (r"[0-9]+(,[0-9]+)+", lambda *_: "Write decimals with a point and thousands without a comma."),
    (r"[+]?[0-9]+\.?|[+]?[0-9]*\.[0-9]+", lambda match, _: f"Write {float(match[0]):g}."),
    (r"[-+]?\.?(nan|NaN|NAN|inf|Inf|INF)", lambda *_: "A limit is a finite number."),
)
