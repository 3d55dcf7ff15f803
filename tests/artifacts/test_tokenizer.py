"""Tokenizer facts: which difference is found, and what it is called."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import pytest

from qgate.artifacts.gguf.header import ArrayFacts, GgufHeader, read_header
from qgate.artifacts.tokenizer.comparison import TokenizerFacts, difference, tokenizer_facts

if TYPE_CHECKING:
    from qgate.artifacts.gguf.header import Value
    from qgate.artifacts.tokenizer.comparison import Part

STORIES = Path(__file__).parents[2].parent / "shared" / "models" / "stories260K"
MODEL: dict[str, Value] = {
    "general.name": "llama",
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "qwen2",
    "tokenizer.ggml.tokens": ArrayFacts(
        element_type="string", count=9, digest="sha256:" + "a" * 64
    ),
    "tokenizer.ggml.merges": ArrayFacts(
        element_type="string", count=7, digest="sha256:" + "b" * 64
    ),
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.chat_template": "{{ messages }}",
}


def facts(**changes: Value | None) -> TokenizerFacts:
    """MODEL with changes; names without their prefix, None to leave a key out."""
    metadata = dict(MODEL)
    for name, value in changes.items():
        known = (key for key in MODEL if key.endswith(f".{name}"))
        key = next(known, f"tokenizer.ggml.{name}")
        if value is None:
            del metadata[key]
        else:
            metadata[key] = value
    return tokenizer_facts(
        GgufHeader(
            path=Path("model.gguf"),
            metadata=MappingProxyType(metadata),
            tensors=(),
            file_bytes=0,
        )
    )


def strings(count: int, digit: str) -> ArrayFacts:
    return ArrayFacts(element_type="string", count=count, digest="sha256:" + digit * 64)


@pytest.mark.parametrize(
    ("part", "changes", "phrase"),
    [
        (
            "tokenizer",
            {"merges": strings(7, "c")},
            "tokenizer.ggml.merges differ (sha256:cccccccc… of 7 strings and "
            "sha256:bbbbbbbb… of 7 strings)",
        ),
        (
            "tokenizer",
            {"tokens": strings(8, "d"), "merges": strings(7, "c")},
            "tokenizer.ggml.tokens differ (sha256:dddddddd… of 8 strings and "
            "sha256:aaaaaaaa… of 9 strings)",
        ),
        ("tokenizer", {"pre": None}, "tokenizer.ggml.pre: absent, the reference has 'qwen2'"),
        (
            "tokenizer",
            {"add_space_prefix": False},
            "tokenizer.ggml.add_space_prefix: False, the reference has none",
        ),
        (
            "tokenizer",
            {"model": "llama", "pre": "x"},
            "tokenizer.ggml.model: 'llama', the reference has 'gpt2'",
        ),
        (
            "special_tokens",
            {"eos_token_id": 1},
            "tokenizer.ggml.eos_token_id: 1, the reference has 2",
        ),
        (
            "special_tokens",
            {"eos_token_id": None},
            "tokenizer.ggml.eos_token_id: absent, the reference has 2",
        ),
        (
            "special_tokens",
            {"add_bos_token": False},
            "tokenizer.ggml.add_bos_token: False, the reference has True",
        ),
        (
            "chat_template",
            {"chat_template": "{{ messages }} "},
            "tokenizer.chat_template differ (sha256:b548d688… of 15 characters and "
            "sha256:f24189f0… of 14 characters)",
        ),
        (
            "chat_template",
            {"chat_template": None},
            "tokenizer.chat_template: absent, the reference has sha256:f24189f0… of 14 characters",
        ),
    ],
)
def test_the_first_difference_is_named_in_its_own_part_only(
    part: Part, changes: dict[str, Value | None], phrase: str
) -> None:
    artifact, reference = facts(**changes), facts()
    assert difference(artifact, reference, part) == phrase
    assert difference(artifact, reference) == phrase
    others = {"tokenizer", "special_tokens", "chat_template"} - {part}
    assert [difference(artifact, reference, other) for other in sorted(others)] == [None, None]
    assert artifact.digests[part] != reference.digests[part]


def test_equal_headers_have_no_difference_whatever_else_they_say() -> None:
    assert difference(facts(), facts()) is None
    assert facts().digests == facts().digests


def test_values_that_print_alike_are_still_different() -> None:
    assert difference(facts(pre="a\n"), facts(pre="a\\n")) is not None
    assert difference(facts(pre="x" * 61 + "a"), facts(pre="x" * 61 + "b")) is not None
    assert difference(facts(eos_token_id=1), facts(eos_token_id=True)) is not None


def test_a_hostile_value_stays_on_one_line() -> None:
    phrase = difference(facts(pre="\x1b[31m\n::error::"), facts())
    assert phrase is not None
    assert phrase.isprintable()
    assert "::error" not in phrase


@pytest.mark.skipif(
    not STORIES.is_dir(), reason="no shared/models/stories260K beside the repository"
)
def test_quantizing_a_real_model_leaves_its_tokenizer_alone() -> None:
    reference = tokenizer_facts(read_header(STORIES / "stories260K-f32.gguf"))
    artifact = tokenizer_facts(read_header(STORIES / "stories260K-q4_0.gguf"))
    assert difference(artifact, reference) is None
    assert list(artifact.parts["special_tokens"]) == [
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.bos_token_id",
        "tokenizer.ggml.eos_token_id",
        "tokenizer.ggml.unknown_token_id",
    ]
