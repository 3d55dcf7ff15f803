"""Tokenizers of Hugging Face directories: what is a difference, and in which part."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts.tokenizer.comparison import PARTS, difference
from qgate.errors import ArtifactError
from tests.artifacts.hf_directories import DEMO, change, copy, facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.artifacts.tokenizer.comparison import Part


def swapped(content: dict[str, Any]) -> None:
    vocab = content["model"]["vocab"]
    vocab["A"], vocab["B"] = vocab["B"], vocab["A"]


@pytest.mark.parametrize(
    ("part", "name", "edit", "phrase"),
    [
        ("tokenizer", "tokenizer.json", swapped, "tokens differ (sha256:"),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c["model"]["merges"].pop(),
            "merges differ (sha256:",
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c["model"].update(ignore_merges=True),
            'model: {"ignore_merges": true, "type": "BPE"}, the reference has {"type": "BPE"}',
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c.update(normalizer={"type": "Lowercase"}),
            'normalizer: [{"type": "Lowercase"}], the reference has []',
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c["pre_tokenizer"].update(use_regex=False),
            "pre_tokenizer differ (sha256:",
        ),
        (
            "tokenizer",
            "tokenizer_config.json",
            lambda c: c.update(add_prefix_space=True),
            "pre_tokenizer differ (sha256:",
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c["added_tokens"][0].update(lstrip=True),
            "added_tokens differ (sha256:",
        ),
        (
            "tokenizer",
            "tokenizer.json",
            lambda c: c.update(decoder={"type": "Fuse"}),
            'decoder: {"type": "Fuse"}, the reference has {"type": "ByteLevel"}',
        ),
        (
            "special_tokens",
            "tokenizer_config.json",
            lambda c: c.update(eos_token="<|im_end|>"),
            "eos_token: 4, the reference has 1",
        ),
        (
            "special_tokens",
            "tokenizer_config.json",
            lambda c: c.update(pad_token="<|im_start|>"),
            "pad_token: 3, the reference has 2",
        ),
        (
            "special_tokens",
            "tokenizer.json",
            lambda c: c["post_processor"]["single"].pop(0),
            "put_before_text: [], the reference has [0]",
        ),
        (
            "special_tokens",
            "generation_config.json",
            lambda c: c.update(eos_token_id=1),
            "end_token_ids: [1], the reference has [1, 4]",
        ),
        (
            "special_tokens",
            "generation_config.json",
            lambda c: c.clear(),
            "end_token_ids: [1], the reference has [1, 4]",
        ),
        (
            "special_tokens",
            "tokenizer.json",
            lambda c: c["added_tokens"][1].update(special=False),
            None,  # it is named as the end of text all the same
        ),
    ],
    ids=[
        *("tokens", "merges", "settings", "normalizer", "pre-tokenizer", "prefix space"),
        *("matching", "decoder", "eos", "pad", "framing", "ends", "no ends", "flag"),
    ],
)
def test_a_change_is_named_in_its_own_part(
    part: Part,
    name: str,
    edit: Callable[[dict[str, Any]], Any],
    phrase: str | None,
    tmp_path: Path,
) -> None:
    directory = copy(tmp_path / "m")
    change(directory, name, edit)
    found = difference(facts(directory), facts(DEMO), part)
    assert found == phrase if phrase is None else (found or "").startswith(phrase)
    for other in set(PARTS) - {part}:
        assert difference(facts(directory), facts(DEMO), other) is None


@pytest.mark.parametrize("place", ["chat_template.jinja", "tokenizer_config.json", "both"])
def test_the_chat_template_is_the_one_that_would_be_used(place: str, tmp_path: Path) -> None:
    directory, file = copy(tmp_path / "m"), "chat_template.jinja"
    text = (directory / file).read_text()
    if place == "tokenizer_config.json":
        (directory / file).unlink()
        change(directory, place, lambda c: c.update(chat_template=text))
    if place == "both":
        change(directory, "tokenizer_config.json", lambda c: c.update(chat_template="{{ other }}"))
    assert difference(facts(directory), facts(DEMO), "chat_template") is None
    (directory / file).write_text(text + " ")
    found = difference(facts(directory), facts(DEMO), "chat_template")
    assert found is not None
    assert found.startswith("chat_template differ (sha256:")
    (directory / file).unlink()
    change(directory, "tokenizer_config.json", lambda c: c.pop("chat_template", None))
    found = difference(facts(directory), facts(DEMO), "chat_template")
    assert found is not None
    assert found.startswith("chat_template: absent, the reference has sha256:")


def test_added_tokens_in_the_configuration_win(tmp_path: Path) -> None:
    directory = copy(tmp_path / "m")
    added = {"2": {"content": "<|pad|>", "special": True, "rstrip": True}}
    change(directory, "tokenizer_config.json", lambda c: c.update(added_tokens_decoder=added))
    found = difference(facts(directory), facts(DEMO), "tokenizer")
    assert found is not None
    assert found.startswith("added_tokens differ")


def test_files_other_than_tokenizer_json_are_compared_by_their_bytes(tmp_path: Path) -> None:
    directories = [copy(tmp_path / name) for name in "ab"]
    for directory in directories:
        (directory / "tokenizer.json").unlink()
        (directory / "tokenizer.model").write_bytes(b"pieces")
    ours, theirs = map(facts, directories)
    assert difference(ours, theirs) is None
    assert ours.source == "tokenizer.model"
    (directories[0] / "tokenizer.model").write_bytes(b"others")
    assert "tokenizer.model differ" in str(difference(facts(directories[0]), theirs, "tokenizer"))
    with pytest.raises(ArtifactError, match="cannot be compared by files: got it in tokenizer"):
        difference(ours, facts(DEMO), "tokenizer")


def test_a_hostile_tokenizer_is_our_error_or_none(tmp_path: Path) -> None:
    rng, theirs = random.Random(0), facts(DEMO)
    strange: list[Any] = [None, -1, 2**70, 1.5, True, "x\x1b\n", "\ud800", [], {}, [[]], {"a": 1}]
    messages = []
    for number in range(80):
        directory = copy(tmp_path / str(number))
        name = rng.choice(["tokenizer.json", "tokenizer.json", "tokenizer_config.json"])

        def plant(content: Any, depth: int = 0) -> None:
            keys = list(content) if isinstance(content, dict) else list(range(len(content)))
            key = rng.choice(keys)
            below = content[key]
            if isinstance(below, dict | list) and below and depth < 4 and rng.random() < 0.7:
                plant(below, depth + 1)
            else:
                content[key] = rng.choice(strange)

        change(directory, name, plant)
        try:
            found = difference(facts(directory), theirs)
        except ArtifactError as error:
            messages.append(str(error))
        else:
            assert found is None or found.isprintable()
    assert len(messages) > 10
    assert all(message.isprintable() for message in messages)


def test_a_tokenizer_with_an_id_far_away_is_refused(tmp_path: Path) -> None:
    directory = copy(tmp_path / "m")
    change(directory, "tokenizer.json", lambda c: c["model"]["vocab"].update(far=2**40))
    with pytest.raises(ArtifactError, match=r"not a tokenizer\.json: ValueError in its structure"):
        facts(directory)
