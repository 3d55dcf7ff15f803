"""When is a generated answer right? Pure functions of the generated text and the expected answer.

`exact`: the first line that is not blank is the answer, letter by letter; of an answer of several
lines, as many lines. White space around it and at the ends of its lines does not count. This is
lm-evaluation-harness's `exact_match`, both sides stripped, on a generation that stops at a line's
end: a model that goes on after its answer has still given it. `plain` stands for its options
`ignore_case` and `ignore_punctuation`.

`numeric`: the last number of the text equals the last number of the answer, after
lm-evaluation-harness's `flexible-extract` for GSM8K (Cobbe et al. 2021, arXiv:2110.14168): what
was worked out before it does not count, over however many lines, nor do `$`, the commas of
thousands and a final dot; the text ends where a new `Question:` begins. A model that goes on with
other numbers has not given its answer: bare sums are for `exact`. Three differences, all where
that rule goes by characters: numbers are equal by value (`85.0` is `85`), a minus after a digit
subtracts (`20-15` ends in 15), commas join only groups of three (`1,2` ends in 2).

Neither function can be right about an answer that says nothing: then all models would be equally
wrong and nothing would be compared. That is an error.
"""

from __future__ import annotations

import re
import string
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError
from qgate.thresholds.values import shown as quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_MINUS = "-\u2212"
_NUMBER = re.compile(
    rf"(?:(?<![\w)])[{_MINUS}])?(?:\$[{_MINUS}]?)?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)"
)
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NEXT = "Question:"
_PLAIN = str.maketrans({"$": None, ",": None, "\u2212": "-"})


def is_exact(text: str, answer: str) -> bool:
    """Whether the text begins with the answer's lines; blank lines before them do not matter.

    Raises:
        MeasurementError: the answer is blank.
    """
    expected = _lines(answer)
    if not expected:
        raise MeasurementError(f"answer: got {quoted(answer)}; expected a text that is not blank.")
    return _lines(text)[: len(expected)] == expected


def is_numeric(text: str, answer: str) -> bool:
    """Whether the last number of the text is that of the answer, by value.

    Raises:
        MeasurementError: the answer has no number.
    """
    expected = last_number(answer)
    if expected is None:
        raise MeasurementError(f"answer: got {quoted(answer)}; expected a number in it.")
    return last_number(text.partition(_NEXT)[0]) == expected


def plain(text: str, *, ignore_case: bool, ignore_punctuation: bool) -> str:
    """A text without what does not count, as lm-evaluation-harness's `exact_match` has it."""
    if ignore_punctuation:
        text = text.translate(_NO_PUNCTUATION)
    return text.lower() if ignore_case else text


def last_number(text: str) -> Decimal | None:
    """The last number of a text; None where it has none.

    >>> last_number("She pays $1,250.50.")
    Decimal('1250.50')
    """
    found = None
    for found in _NUMBER.finditer(text):  # noqa: B007 - the last one
        pass
    return Decimal(found[0].translate(_PLAIN)) if found else None


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


METRICS: Mapping[str, Callable[[str, str], bool]] = MappingProxyType(
    {"exact": is_exact, "numeric": is_numeric}
)
"""By the name that a thresholds file calls them."""
SCORES = ("rouge_l", "chrf")
"""Metrics that are no yes or no, see `qgate.measure.tasks.grading`."""
