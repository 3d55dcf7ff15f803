"""A mistake in a file of items is one line that begins with its place, in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.measure.tasks.item_files import CHOICE, EXAMPLE, GOOD, read, row

if TYPE_CHECKING:
    from pathlib import Path

WRONG: list[tuple[str, str | bytes, str]] = [
    ("nothing", "", f"1: got nothing but blank lines; {EXAMPLE}"),
    ("blank", "\n \n", f"1: got nothing but blank lines; {EXAMPLE}"),
    (
        "latin",
        GOOD.encode() + b'{"prompt": "Gr\xf6sse", "answer": "x"}',
        "2: not UTF-8: got byte 0xf6; expected UTF-8 text.",
    ),
    (
        "utf-16",
        GOOD.encode("utf-16-le"),
        "1: not JSON: got 'Expecting property name enclosed in"
        " double quotes' at column 2; expected an object.",
    ),
    (
        "cut",
        GOOD + '{"prompt": "2',
        "2: not JSON: got 'Unterminated string starting at' at column 12; expected an object.",
    ),
    (
        "indented",
        '{\n  "prompt": "2"\n}',
        "1: not JSON: got 'Expecting property name enclosed in double quotes' at column 1;"
        " expected an object.",
    ),
    (
        "two on a line",
        GOOD.strip() + GOOD,
        "1: not JSON: got 'Extra data' at column 38; expected an object.",
    ),
    (
        "csv",
        "prompt,answer\n",
        "1: not JSON: got 'Expecting value' at column 1; expected an object.",
    ),
    ("list", "[1, 2]", "1: got a list; expected an object."),
    ("text", '"2 + 2 ="', "1: got '2 + 2 ='; expected an object."),
    ("number", GOOD + "1.5", "2: got 1.5; expected an object."),
    ("null", "null", "1: got null; expected an object."),
    ("true", "true", "1: got true; expected an object."),
    ("nan", '{"prompt": "x", "answer": NaN}', "1: not JSON: got NaN; expected finite numbers."),
    (
        "infinity in another key",
        '{"prompt": "x", "answer": "y", "score": -Infinity}',
        "1: not JSON: got -Infinity; expected finite numbers.",
    ),
    (
        "too large a number",
        '{"prompt": "x", "answer": "y", "score": 1e999}',
        "1: not JSON: got 1e999; expected finite numbers.",
    ),
    (
        "too many digits",
        '{"prompt": "x", "answer": ' + "9" * 5000 + "}",
        "1: not JSON: got too many digits in a number; expected a short object.",
    ),
    (
        "too deep",
        '{"prompt": "x", "answer": ' + "[" * 100_000 + "}",
        "1: not JSON: got too many levels; expected a short object.",
    ),
    (
        "key twice",
        '{"prompt": "x", "answer": "y", "answer": "z"}',
        "1: not JSON: got the key 'answer' twice; expected every key once.",
    ),
    (
        "no prompt",
        GOOD + row(question="x", answer="y"),
        "2: no prompt: got the keys 'question', 'answer'; expected 'prompt'.",
    ),
    ("no keys", "{}", "1: no prompt: got the keys none; expected 'prompt'."),
    (
        "many keys",
        row(**dict.fromkeys("abcdefghij")),
        "1: no prompt: got the keys 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', ...;"
        " expected 'prompt'.",
    ),
    (
        "answerless",
        GOOD + row(prompt="x"),
        "2: no answer: got the keys 'prompt'; expected 'answer'.",
    ),
    ("null answer", row(prompt="x", answer=None), "1: answer: got null; expected a text."),
    (
        "empty answer",
        row(prompt="x", answer=""),
        "1: answer: got ''; expected a text that is not blank.",
    ),
    (
        "blank answer",
        row(prompt="x", answer="\n "),
        r"1: answer: got '\n '; expected a text that is not blank.",
    ),
    (
        "number as an answer",
        row(prompt="x", answer=42),
        "1: answer: got 42; expected a text. Write it in quotes.",
    ),
    (
        "number of many digits",
        row(prompt="x", answer=10**40),
        "1: answer: got a number of 41 digits; expected a text. Write it in quotes.",
    ),
    ("several answers", row(prompt="x", answer=["a"]), "1: answer: got a list; expected a text."),
    ("object", row(prompt={"a": 1}, answer="a"), "1: prompt: got an object; expected a text."),
    (
        "empty prompt",
        row(prompt="", answer="a"),
        "1: prompt: got ''; expected a text that is not blank.",
    ),
    (
        "half a character",
        '{"prompt": "x\\ud83d", "answer": "a"}',
        r"1: prompt: got half of a surrogate pair in 'x\ud83d'; expected whole characters.",
    ),
    (
        "id of no kind",
        row(id=1.5, prompt="x", answer="a"),
        "1: id: got 1.5; expected a text. Write it in quotes.",
    ),
    (
        "id true",
        row(id=True, prompt="x", answer="a"),
        "1: id: got true; expected a text. Write it in quotes.",
    ),
    (
        "id of two lines",
        row(id="a\nb", prompt="x", answer="a"),
        r"1: id: got 'a\nb'; expected one line of at most 200 characters.",
    ),
    (
        "long id",
        row(id="a" * 201, prompt="x", answer="a"),
        f"1: id: got '{'a' * 57}...'; expected one line of at most 200 characters.",
    ),
    (
        "duplicate id",
        GOOD + row(id="a", prompt="x", answer="a") + "\n" + row(id="a", prompt="y", answer="a"),
        "4: duplicate id: got 'a' as on line 2; expected another id.",
    ),
    (
        "id of another line",
        row(id=2, prompt="x", answer="a") + row(prompt="y", answer="a"),
        "2: duplicate id: got '2' as on line 1; expected another id.",
    ),
    (
        "duplicate item",
        row(id="a", prompt="x", answer="a") + row(id="b", prompt="x", answer="a"),
        "2: duplicate item: got 'x' with the same answer as on line 1; expected every item once.",
    ),
    (
        "duplicate choice item, once by its index",
        CHOICE + row(prompt="Water is", choices=[" wet", " dry"], answer=0),
        "2: duplicate item: got 'Water is' with the same answer as on line 1;"
        " expected every item once.",
    ),
    (
        "no list",
        row(prompt="x", choices="ab", answer="a"),
        "1: choices: got 'ab'; expected a list of texts.",
    ),
    (
        "object of choices",
        row(prompt="x", choices={"label": ["A"]}, answer="a"),
        "1: choices: got an object; expected a list of texts.",
    ),
    (
        "one choice",
        row(prompt="x", choices=["a"], answer="a"),
        "1: choices: got only 'a'; expected at least 2 choices.",
    ),
    (
        "number as a choice",
        row(prompt="x", choices=["a", 2], answer="a"),
        "1: choices[1]: got 2; expected a text. Write it in quotes.",
    ),
    (
        "empty choice",
        row(prompt="x", choices=["a", ""], answer="a"),
        "1: choices[1]: got ''; expected a text that is not blank.",
    ),
    (
        "duplicate choices",
        row(prompt="x", choices=["b", "a", "a"], answer="b"),
        "1: choices: got 'a' twice; expected different choices.",
    ),
    (
        "another answer",
        row(prompt="x", choices=[" wet", " dry"], answer="wet"),
        "1: answer: got 'wet'; expected one of the choices ' wet', ' dry'. Did you mean ' wet'?",
    ),
    (
        "index past the end",
        row(prompt="x", choices=["a", "b"], answer=2),
        "1: answer: got 2; expected an index from 0 to 1.",
    ),
    (
        "hidden label",
        row(prompt="x", choices=["a", "b"], answer=-1),
        "1: answer: got -1; expected an index from 0 to 1.",
    ),
    (
        "true as an index",
        row(prompt="x", choices=["a", "b"], answer=True),
        "1: answer: got true; expected a text. Write it in quotes.",
    ),
    (
        "choices come late",
        GOOD + CHOICE,
        "2: mixed kinds: got an item that has choices while those before it have none;"
        " expected items of one kind. Make two files of it.",
    ),
    (
        "choices are missing",
        CHOICE + GOOD,
        "2: mixed kinds: got an item that has no choices while those before it have some;"
        " expected items of one kind. Make two files of it.",
    ),
    (
        "long line",
        GOOD + row(prompt="x" * 1024 * 1024, answer="a"),
        "2: line too long: got 1048606 bytes; expected at most 1048576.",
    ),
    (
        "many items",
        "".join(f'{{"prompt": "{number}", "answer": "a"}}\n' for number in range(100_001)),
        "100001: too many lines: got more than 100000; expected at most that. Name a part of it.",
    ),
]


@pytest.mark.parametrize(
    ("content", "message"), [case[1:] for case in WRONG], ids=[name for name, *_ in WRONG]
)
def test_a_mistake_is_one_line_that_begins_with_its_place(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read(tmp_path, content)
    assert str(caught.value) == f"items.jsonl:{message}"
    assert len(str(caught.value).splitlines()) == 1
