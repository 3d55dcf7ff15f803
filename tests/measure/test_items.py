"""Files of items: what is read, what is sampled, and every mistake in its own words."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from qgate.errors import ThresholdsError
from qgate.measure.items import ItemFile, read_items

EXAMPLE = """expected JSON lines such as {"prompt": "2 + 2 =", "answer": " 4"}."""
GOOD = '{"prompt": "2 + 2 =", "answer": " 4"}\n'
CHOICE = '{"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"}\n'


def read(tmp_path: Path, content: str | bytes, *, max_samples: int | None = None) -> ItemFile:
    path = tmp_path / "items.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_items(path, "items.jsonl", max_samples=max_samples)


def row(**values: object) -> str:
    return json.dumps(values) + "\n"


def many(count: int, *, choices: bool = False) -> str:
    extra = {"choices": [" a", " b", " c", " d"]} if choices else {}
    return "".join(
        row(id=f"q-{number}", prompt=f"Question {number}? " * 8, **extra, answer=" a")
        for number in range(count)
    )


def test_generated_items_are_read_with_everything_that_is_left_out(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        "\ufeff"
        + row(prompt="2 + 2 =", answer=" 4", level="easy", score=0.5)
        + "\n \n"
        + row(id="b", prompt="Größe\u2028?", choices=[], answer="\n42")
        + row(id=7, prompt="3 + 3 =", choices=None, answer=" 6\r\n"),
    )

    assert [item.id for item in found.items] == ["1", "b", "7"]
    assert [item.prompt for item in found.items] == ["2 + 2 =", "Größe\u2028?", "3 + 3 ="]
    assert [item.answer for item in found.items] == [" 4", "\n42", " 6\r\n"]
    assert [item.choices for item in found.items] == [(), (), ()]
    assert (found.name, found.path, found.available) == (
        "items.jsonl",
        tmp_path / "items.jsonl",
        3,
    )
    assert not found.has_choices


def test_line_ends_of_windows_and_a_last_line_without_one_are_read(tmp_path: Path) -> None:
    last = row(prompt="1 + 1 =", answer=" 2").rstrip()
    assert len(read(tmp_path, GOOD.replace("\n", "\r\n") + last).items) == 2


def test_an_answer_may_be_an_index_into_the_choices(tmp_path: Path) -> None:
    by_text, by_index = (
        read(tmp_path, row(prompt="Water is", choices=[" wet", " dry"], answer=answer))
        for answer in (" dry", 1)
    )
    assert by_text.items == by_index.items
    assert by_text.items[0].answer == " dry"
    assert by_text.digest == by_index.digest
    assert by_text.has_choices


def test_an_answer_that_looks_like_an_index_is_a_text(tmp_path: Path) -> None:
    (item,) = read(tmp_path, row(prompt="1 + 0 =", choices=["0", "1"], answer="1")).items
    assert item.answer == "1"
    (item,) = read(tmp_path, row(prompt="1 + 0 =", choices=["1", "0"], answer="1")).items
    assert item.answer == "1"


def test_the_same_prompt_may_have_other_choices(tmp_path: Path) -> None:
    rows = [row(prompt="It is", choices=[" a", other], answer=" a") for other in (" b", " c")]
    assert len(read(tmp_path, "".join(rows)).items) == 2


# Samples and digests


def test_a_sample_is_spread_over_the_file_in_its_order_and_always_the_same(tmp_path: Path) -> None:
    whole = read(tmp_path, many(1000))
    some = read(tmp_path, many(1000), max_samples=100)

    places = [whole.items.index(item) for item in some.items]
    assert places == sorted(set(places))
    assert len(places) == 100
    assert all(any(low <= at < low + 100 for at in places) for low in range(0, 1000, 100))
    assert some == read(tmp_path, many(1000), max_samples=100)
    assert (some.available, whole.available) == (1000, 1000)
    assert some.digest != whole.digest


def test_a_sample_as_large_as_the_file_is_the_file(tmp_path: Path) -> None:
    assert read(tmp_path, many(20), max_samples=20) == read(tmp_path, many(20))
    assert read(tmp_path, many(20), max_samples=21) == read(tmp_path, many(20))


def test_a_mistake_is_found_outside_the_sample_too(tmp_path: Path) -> None:
    for at in range(4):
        lines = [row(prompt=f"{number}?", answer="x") for number in range(4)]
        lines[at] = row(prompt="?")
        with pytest.raises(ThresholdsError, match=f"^items.jsonl:{at + 1}: no answer: "):
            read(tmp_path, "".join(lines), max_samples=1)


@pytest.mark.parametrize("most", [0, -1])
def test_a_sample_of_nothing_is_refused(tmp_path: Path, most: int) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read(tmp_path, GOOD, max_samples=most)
    assert str(caught.value) == f"items.jsonl: max_samples: got {most}; expected at least 1."


def test_the_digest_is_of_what_is_asked_and_of_nothing_else(tmp_path: Path) -> None:
    base = {"id": "a", "prompt": "It is", "choices": [" a", " b"], "answer": " a"}
    digest = read(tmp_path, row(**base)).digest
    assert digest.startswith("sha256:")
    assert len(digest) == len("sha256:") + 64
    assert read(tmp_path, "\n" + row(**base, note="other keys")).digest == digest
    changes = [{"id": "b"}, {"prompt": "It was"}, {"choices": [" a", " c"]}, {"answer": " b"}]
    others = {read(tmp_path, row(**(base | change))).digest for change in changes}
    assert len({digest, *others}) == 5


def test_where_a_text_ends_changes_the_digest(tmp_path: Path) -> None:
    one = read(tmp_path, row(id="a", prompt="ab", answer="c"))
    other = read(tmp_path, row(id="a", prompt="a", answer="bc"))
    assert one.digest != other.digest


# Refusals

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
        " double quotes' at column 2; expected an object on a line of its own.",
    ),
    (
        "cut",
        GOOD + '{"prompt": "2',
        "2: not JSON: got 'Unterminated string starting at' at column 12;"
        " expected an object on a line of its own.",
    ),
    (
        "indented",
        '{\n  "prompt": "2"\n}',
        "1: not JSON: got 'Expecting property name enclosed in double quotes' at column 1;"
        " expected an object on a line of its own.",
    ),
    (
        "two on a line",
        GOOD.strip() + GOOD,
        "1: not JSON: got 'Extra data' at column 38; expected an object on a line of its own.",
    ),
    (
        "csv",
        "prompt,answer\n",
        "1: not JSON: got 'Expecting value' at column 1; expected an object on a line of its own.",
    ),
    ("list", "[1, 2]", "1: got a list; expected an object."),
    ("text", '"2 + 2 ="', "1: got '2 + 2 ='; expected an object."),
    ("number", GOOD + "1.5", "2: got 1.5; expected an object."),
    ("null", "null", "1: got null; expected an object."),
    ("true", "true", "1: got true; expected an object."),
    ("nan", '{"prompt": "x", "answer": NaN}', "1: got NaN; expected finite numbers."),
    (
        "infinity in another key",
        '{"prompt": "x", "answer": "y", "score": -Infinity}',
        "1: got -Infinity; expected finite numbers.",
    ),
    (
        "too large a number",
        '{"prompt": "x", "answer": "y", "score": 1e999}',
        "1: got 1e999; expected finite numbers.",
    ),
    (
        "too many digits",
        '{"prompt": "x", "answer": ' + "9" * 5000 + "}",
        "1: got too many digits in a number; expected a short object.",
    ),
    (
        "too deep",
        '{"prompt": "x", "answer": ' + "[" * 100_000 + "}",
        "1: got too many levels; expected a short object.",
    ),
    (
        "key twice",
        '{"prompt": "x", "answer": "y", "answer": "z"}',
        "1: got the key 'answer' twice; expected every key once.",
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


def test_a_file_that_is_not_there_is_named_as_the_user_named_it(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "absent.jsonl", "tasks/absent.jsonl")
    assert str(caught.value) == f"tasks/absent.jsonl: no such file; {EXAMPLE}"


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path, "tasks")
    assert str(caught.value) == f"tasks: is not a file; {EXAMPLE}"


def test_a_file_that_may_not_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "items.jsonl").write_text(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "items.jsonl", "items.jsonl")
    assert str(caught.value) == f"items.jsonl: cannot be read: Permission denied; {EXAMPLE}"


def test_a_file_of_absurd_size_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "items.jsonl").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(ThresholdsError) as caught:
        read_items(tmp_path / "items.jsonl", "items.jsonl")
    assert str(caught.value) == (
        "items.jsonl: too large: got more than 67108864 bytes; expected at most that."
        " Name a part of it."
    )


# What it costs while pytest collects


def test_reading_items_imports_nothing_heavy() -> None:
    code = (
        "import sys, qgate.measure.items, qgate.measure.prompts, qgate.measure.answers\n"
        "sys.exit(' '.join({'numpy', 'scipy', 'mlflow', 'torch'} & set(sys.modules)) or None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
