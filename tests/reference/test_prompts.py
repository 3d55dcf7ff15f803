"""Texts and prompts without a right answer: what is read, and every mistake in its own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.reference.prompts import read_languages, read_prompts, read_texts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Read = Callable[[Path], object]

READERS: dict[str, Read] = {
    "languages": read_languages,
    "texts": read_texts,
    "prompts": read_prompts,
}


def write(tmp_path: Path, content: str) -> Path:
    path = tmp_path / "texts.jsonl"
    path.write_text(content, encoding="utf-8")
    return path


def test_documents_are_read_by_language_in_the_files_order(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '{"language": "zh", "text": "安娜在河边。"}\n'
        '{"language": "de", "text": "Anna ist da."}\n\n'
        '{"language": "zh", "text": "书是红色的。", "source": "x"}\n',
    )
    assert list(read_languages(path).items()) == [
        ("zh", ("安娜在河边。", "书是红色的。")),
        ("de", ("Anna ist da.",)),
    ]


def test_texts_and_prompts_are_read_as_they_are(tmp_path: Path) -> None:
    path = write(tmp_path, '{"text": "a\\n"}\n{"text": " b", "id": "x"}\n')
    assert read_texts(path) == ("a\n", " b")
    path = write(tmp_path, '{"id": "x", "prompt": "Anna had a"}\n{"prompt": "Ben"}\n')
    assert read_prompts(path) == ("Anna had a", "Ben")


def test_languages_cannot_be_changed(tmp_path: Path) -> None:
    found = read_languages(write(tmp_path, '{"language": "de", "text": "x"}'))
    with pytest.raises(TypeError):
        found["de"] = ()  # type: ignore[index]


LONG_CODE = "x" * 41
WRONG = [
    (
        "languages",
        "\n",
        "got nothing but blank lines; expected JSON lines such as"
        ' {"language": "de", "text": "Anna ist im Garten."}.',
    ),
    ("languages", '{"text": "x"}', "no language: got the keys 'text'; expected 'language'."),
    (
        "languages",
        '{"language": "de DE", "text": "x"}',
        "language: got 'de DE'; expected a code such as 'de'.",
    ),
    (
        "languages",
        f'{{"language": "{LONG_CODE}", "text": "x"}}',
        f"language: got '{LONG_CODE}'; expected a code such as 'de'.",
    ),
    ("texts", '{"prompt": "x"}', "no text: got the keys 'prompt'; expected 'text'."),
    ("prompts", '{"text": "x"}', "no prompt: got the keys 'text'; expected 'prompt'."),
]


@pytest.mark.parametrize(("reader", "content", "message"), WRONG)
def test_a_mistake_is_one_line_that_begins_with_its_place(
    tmp_path: Path, reader: str, content: str, message: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(ThresholdsError) as caught:
        READERS[reader](path)
    assert str(caught.value) == f"{path.as_posix()}:1: {message}"


@pytest.mark.parametrize("reader", READERS)
def test_what_is_there_twice_would_count_twice(tmp_path: Path, reader: str) -> None:
    line = '{"language": "de", "text": "x", "prompt": "x"}\n'
    key = "prompt" if reader == "prompts" else "text"
    with pytest.raises(ThresholdsError) as caught:
        READERS[reader](write(tmp_path, line + "\n" + line))
    assert str(caught.value).endswith(
        f"texts.jsonl:3: duplicate {key}: got 'x' as on line 1; expected every {key} once."
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ThresholdsError) as caught:
        read_texts(tmp_path / "x.jsonl")
    assert str(caught.value).startswith(f"{tmp_path.as_posix()}/x.jsonl: no such file; ")
