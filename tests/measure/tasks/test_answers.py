"""When a generated answer is right, in examples."""

from __future__ import annotations

from decimal import Decimal

import pytest

from qgate.errors import MeasurementError
from qgate.measure.tasks.metrics import METRICS, is_exact, is_numeric, last_number

EXACT: list[tuple[str, str, bool]] = [
    ("42", "42", True),
    (" 42", "42", True),
    ("42", "\n42", True),
    ("\n\n \n42", "\n42", True),
    (" 42 \r\nmore", "42", True),
    ("\n'AG'\n>>> 'K' + 'K'\n'KK'", "\n'AG'", True),
    (" 138 + 2 = 140\n7 + 4 = 11", " 138 + 2 = 140", True),
    ("[1, 2]", "[1,2]", False),
    ("Paris", "paris", False),
    ("Paris.", "Paris", False),
    ("The answer is 42", "42", False),
    ("42 43", "42", False),
    ("4", "42", False),
    ("43\n42", "42", False),
    ("", "42", False),
    ("\n \n", "42", False),
    ("a \n b\nc", "a\n b", True),
    ("\na\nb", "a\nb\n", True),
    ("a\n\nb\nc", "a\n\nb", True),
    ("a\nb", "a\n\nb", False),
    ("a", "a\nb", False),
    ("b\na", "a\nb", False),
    ("a\nb b", "a\nb", False),
]


@pytest.mark.parametrize(("text", "answer", "expected"), EXACT)
def test_exact_is_the_answers_lines_and_nothing_else(
    text: str, answer: str, expected: bool
) -> None:
    assert is_exact(text, answer) is expected


LAST: list[tuple[str, str | None]] = [
    ("140", "140"),
    (" 138 + 2 = 140", "140"),
    ("She pays $1,250.50.", "1250.50"),
    ("1,000,000 of 2,000", "2000"),
    ("So it is 85.", "85"),
    ("#### 18", "18"),
    ("**18**", "18"),
    (r"\boxed{18}", "18"),
    ("-7", "-7"),
    ("\u22127", "-7"),
    ("x = -15", "-15"),
    ("20-15", "15"),
    ("f(3)-2", "2"),
    ("2024-05", "05"),
    ("-$5 and", "-5"),
    ("$-5 and", "-5"),
    ("$5", "5"),
    (".5", "0.5"),
    ("0.50 %", "0.50"),
    ("[1,2]", "2"),
    ("1,2345", "2345"),
    ("3.1.2", "2"),
    ("two apples", None),
    ("$ , . -", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), LAST)
def test_the_last_number_is_found_as_people_write_it(text: str, expected: str | None) -> None:
    assert last_number(text) == (None if expected is None else Decimal(expected))


NUMERIC: list[tuple[str, str, bool]] = [
    (" 138 + 2 = 140", " 138 + 2 = 140", True),
    (" 140", " 138 + 2 = 140", True),
    ("She has 9 eggs left.\n\nThey cost $2 each.\n9 * 2 = $18.", "18", True),
    ("So 18", "She sells 9.\nThat makes 9 * 2 = 18.\n#### 18", True),
    ("1,000", "1000", True),
    ("85.0", "85", True),
    ("085", "85", True),
    ("0.1", "0.10", True),
    ("0.1000000000000000055", "0.1", False),
    ("9007199254740993", "9007199254740992", False),
    ("-18", "18", False),
    ("18 or 19", "18", False),
    ("18\n7 + 4 = 11", "18", False),
    ("18\n\nQuestion: Ben has 3 eggs.", "18", True),
    ("Question: 18", "18", False),
    ("eighteen", "18", False),
    ("", "18", False),
]


@pytest.mark.parametrize(("text", "answer", "expected"), NUMERIC)
def test_numeric_compares_last_numbers_by_value(text: str, answer: str, expected: bool) -> None:
    assert is_numeric(text, answer) is expected


@pytest.mark.parametrize("answer", ["", " \n"])
def test_an_answer_that_says_nothing_is_an_error_not_a_draw(answer: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        is_exact("", answer)
    assert str(caught.value) == f"answer: got {answer!r}; expected a text that is not blank."


def test_an_answer_without_a_number_is_an_error_not_a_draw() -> None:
    with pytest.raises(MeasurementError) as caught:
        is_numeric("no idea", "Paris")
    assert str(caught.value) == "answer: got 'Paris'; expected a number in it."


@pytest.mark.parametrize("metric", METRICS)
def test_a_text_of_any_length_is_judged_in_no_time(metric: str) -> None:
    for text in ("1,000" * 20_000, "$-" * 50_000, ",000" * 20_000, "." * 100_000, "\n" * 100_000):
        assert METRICS[metric](text, "17") is False
    assert METRICS[metric]("9" * 100_000, "9" * 100_000) is True
