"""The kinds of value that a thresholds file holds, and what each accepts.

Values are read by their text, not by YAML 1.1's guess: PyYAML reads `1:30` as 90, `010` as 8,
`1_000` as 1000 and `1e-3` as a string. Here a number is a JSON number or an error that says how to
write it. The same object yields the JSON schema, so that editor and gate cannot disagree.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

LARGEST_WHOLE = 2**31 - 1
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number within bounds; `above` and `below` exclude their end, the others include it."""

    help: str
    whole: bool = False
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def constraint(self) -> str:
        signs = {">": self.above, ">=": self.at_least, "<": self.below, "<=": self.at_most}
        bounds = [f"{sign} {bound}" for sign, bound in signs.items() if bound is not None]
        kind = "a whole number" if self.whole else "a number"
        return f"{kind} {' and '.join(bounds)}{unit_note(self.unit)}"

    def read(self, text: str, *, is_quoted: bool) -> float | int:
        """Turn a scalar's text into a number.

        Raises:
            ValueError: `got ...; expected ....` and how to write it, where that can be told.
        """
        if is_quoted or not PLAIN_NUMBER.fullmatch(text):
            remedy = how_to_write(text, self.unit)
            raise ValueError(f"got {shown(text)}; expected {self.constraint}.{remedy}")
        value = float(text)
        is_whole = text.lstrip("-").isdigit()
        if not math.isfinite(value) or not self._is_within(value) or (self.whole and not is_whole):
            raise ValueError(f"got {cut(text)}; expected {self.constraint}.")
        return int(text) if self.whole else value

    def _is_within(self, value: float) -> bool:
        return (
            (self.above is None or value > self.above)
            and (self.at_least is None or value >= self.at_least)
            and (self.below is None or value < self.below)
            and (self.at_most is None or value <= self.at_most)
        )

    def to_schema(self) -> dict[str, Any]:
        bounds = {
            "exclusiveMinimum": self.above,
            "minimum": self.at_least,
            "exclusiveMaximum": self.below,
            "maximum": self.at_most,
        }
        return {
            "description": self.help,
            "type": "integer" if self.whole else "number",
            **{name: bound for name, bound in bounds.items() if bound is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One of `choices`, or any text that fits `pattern` where there are no choices."""

    help: str
    choices: tuple[str, ...] = ()
    pattern: str = ".+"
    constraint: str = "a text"

    def read(self, text: str, *, is_quoted: bool) -> str:
        """Check a scalar's text; quotes make no difference to a word.

        Raises:
            ValueError: `got ...; expected ....` with the nearest choice.
        """
        if self.choices and text not in self.choices:
            expected = " or ".join(self.choices)
            raise ValueError(
                f"got {shown(text)}; expected {expected}.{did_you_mean(text, self.choices)}"
            )
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"got {shown(text)}; expected {self.constraint}.")
        return text

    def to_schema(self) -> dict[str, Any]:
        kind: dict[str, Any] = {"description": self.help, "type": "string"}
        if self.choices:
            return {**kind, "enum": list(self.choices)}
        return {**kind, "pattern": f"^{self.pattern}$"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """true or false, and none of YAML 1.1's other words for them."""

    help: str
    constraint: str = "true or false"

    def read(self, text: str, *, is_quoted: bool) -> bool:
        """Turn a scalar's text into a flag.

        Raises:
            ValueError: `got ...; expected true or false.`
        """
        if is_quoted or text not in ("true", "false"):
            raise ValueError(f"got {shown(text)}; expected {self.constraint}.")
        return text == "true"

    def to_schema(self) -> dict[str, Any]:
        return {"description": self.help, "type": "boolean"}


Leaf = Number | Word | Flag


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
