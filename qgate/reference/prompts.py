"""Texts and prompts without a right answer, for the edge cases: JSON lines, as `items.py` has them.

documents:  {"language": "de", "text": "..."}     prose to score, the same texts by language
languages:  {"language": "de", "text": "..."}     exercises to score, by language
prose:      {"text": "..."}                       short documents that make up a long input
open:       {"id": "...", "prompt": "..."}        questions that are answered freely
conversations: {"id": "...", "slice": "code", "prompt": "..."}  the same, by what they are about
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.thresholds.json_lines import Row, read_rows
from qgate.thresholds.values import shown as quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_LONGEST_LANGUAGE = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A prompt and what it is about."""

    slice: str
    prompt: str


def read_languages(path: Path) -> Mapping[str, tuple[str, ...]]:
    """Read documents by language, languages and documents in the file's order.

    Raises:
        ThresholdsError: anything wrong with any line, as `path:LINE: ...; expected ...`.
    """
    rows = _read(path, '{"language": "de", "text": "Anna ist im Garten."}')
    languages = [_read_language(row) for row in rows]
    texts = _different(rows, "text")
    return MappingProxyType(
        {
            language: tuple(
                text for own, text in zip(languages, texts, strict=True) if own == language
            )
            for language in dict.fromkeys(languages)
        }
    )


def read_texts(path: Path) -> tuple[str, ...]:
    """Read documents; errors as `read_languages`."""
    return _different(_read(path, '{"text": "Anna went to the park."}'), "text")


def read_prompts(path: Path) -> tuple[str, ...]:
    """Read prompts; errors as `read_languages`. Ids are for people."""
    return _different(_read(path, '{"id": "story-1", "prompt": "Anna had a"}'), "prompt")


def read_conversations(path: Path) -> tuple[Asked, ...]:
    """Read prompts with their slices; errors as `read_languages`."""
    rows = _read(path, '{"id": "code-1", "slice": "code", "prompt": "What is a loop?"}')
    slices = [row.text("slice") for row in rows]
    return tuple(
        Asked(slice=name, prompt=prompt)
        for name, prompt in zip(slices, _different(rows, "prompt"), strict=True)
    )


def _read(path: Path, example: str) -> list[Row]:
    return read_rows(path, path.as_posix(), example)


def _read_language(row: Row) -> str:
    language = row.text("language")
    if len(language) > _LONGEST_LANGUAGE or language != "".join(language.split()):
        raise row.error(f"language: got {quoted(language)}; expected a code such as 'de'.")
    return language


def _different(rows: list[Row], key: str) -> tuple[str, ...]:
    """The texts under `key`; one that is there twice would count twice."""
    lines: dict[str, int] = {}
    for row in rows:
        text = row.text(key)
        first = lines.setdefault(text, row.line)
        if first != row.line:
            raise row.error(
                f"duplicate {key}: got {quoted(text)} as on line {first}; "
                f"expected every {key} once."
            )
    return tuple(lines)
