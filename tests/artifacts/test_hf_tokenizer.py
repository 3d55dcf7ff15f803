"""Tokenizers of Hugging Face directories: what is a difference, what only another spelling."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts.tokenizer import PARTS, difference
from qgate.errors import ArtifactError
from tests.artifacts.hf_directories import DEMO, change, copy, facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.artifacts.tokenizer import Part

ROUND_TRIP = """
import sys
from transformers import AutoTokenizer
AutoTokenizer.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


def round_trip(source: Path, target: Path) -> Path:
    """What transformers makes of a tokenizer that it loads and saves."""
    pytest.importorskip("transformers", reason="tokenizers are saved by transformers")
    done = subprocess.run(
        [sys.executable, "-c", ROUND_TRIP, str(source), str(target)],
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("config.json", "generation_config.json"):
        (target / name).write_bytes((source / name).read_bytes())
    return target


@pytest.mark.slow
def test_saving_what_was_loaded_is_no_difference(tmp_path: Path) -> None:
    saved = round_trip(DEMO, tmp_path / "saved")
    assert (saved / "tokenizer_config.json").read_bytes() != (
        DEMO / "tokenizer_config.json"
    ).read_bytes()
    ours, theirs = facts(saved), facts(DEMO)
    assert [difference(ours, theirs, part) for part in PARTS] == [None, None, None]
    assert ours.digests == theirs.digests


@pytest.mark.slow
def test_a_sentencepiece_tokenizer_stays_the_same_when_its_own_class_saves_it(
    tmp_path: Path,
) -> None:
    source = copy(tmp_path / "llama")
    sentencepiece(source)
    saved = round_trip(source, tmp_path / "saved")
    written = json.loads((saved / "tokenizer.json").read_text())
    assert written["pre_tokenizer"]["type"] == "Metaspace"  # was the normalizer's
    assert [difference(facts(saved), facts(source), part) for part in PARTS] == [None] * 3


def sentencepiece(directory: Path) -> None:
    """Make the tokenizer one of Llama's old kind: bytes, ▁ and merges in the order of ids."""
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *"▁abc", "▁a", "ab", "▁b"]
    tokens = [*tokens[:259], "▁a", "ab", "▁b", "▁", "a", "b", "c"]

    def edit(content: dict[str, Any]) -> None:
        space = {"type": "Prepend", "prepend": "▁"}
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        bos = {"SpecialToken": {"id": "<s>", "type_id": 0}}
        text = {"Sequence": {"id": "A", "type_id": 0}}
        content["normalizer"] = {"type": "Sequence", "normalizers": [space, replace]}
        content["pre_tokenizer"] = None
        content["post_processor"].update(
            single=[bos, text],
            pair=[bos, text, {"Sequence": {"id": "B", "type_id": 1}}],
            special_tokens={"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        )
        content["decoder"] = {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                {"type": "Strip", "content": " ", "start": 1, "stop": 0},
            ],
        }
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        content["added_tokens"] = [
            {"id": number, "content": tokens[number], "special": True, **flags}
            for number in range(3)
        ]
        content["model"].update(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[["▁", "a"], ["a", "b"], ["▁", "b"]],
            byte_fallback=True,
            fuse_unk=True,
            unk_token="<unk>",
        )

    change(directory, "tokenizer.json", edit)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    settings = {"tokenizer_class": "LlamaTokenizer", "clean_up_tokenization_spaces": False}
    (directory / "tokenizer_config.json").write_text(json.dumps({**settings, **names}))
    change(directory, "config.json", lambda c: c.update(vocab_size=len(tokens), eos_token_id=2))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": 2}))


def shuffled(content: dict[str, Any]) -> None:
    items = list(content.items())
    content.clear()
    content.update(reversed(items))


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("tokenizer.json", shuffled),
        ("tokenizer.json", lambda c: shuffled(c["model"]["vocab"])),
        ("tokenizer.json", lambda c: c["added_tokens"].reverse()),
        (
            "tokenizer.json",
            lambda c: c["model"].update(merges=[" ".join(m) for m in c["model"]["merges"]]),
        ),
        (
            "tokenizer.json",
            lambda c: c["model"].update(continuing_subword_prefix="", end_of_word_suffix=""),
        ),
        ("tokenizer.json", lambda c: c["model"].pop("byte_fallback")),
        ("tokenizer.json", lambda c: c["pre_tokenizer"].update(trim_offsets=False)),
        ("tokenizer.json", lambda c: c["decoder"].update(add_prefix_space=False)),
        ("tokenizer.json", lambda c: c.update(truncation={"max_length": 512}, padding=None)),
        ("tokenizer.json", lambda c: c["post_processor"].update(pair=[])),
        (
            "tokenizer.json",
            lambda c: c.update(
                post_processor={
                    "type": "Sequence",
                    "processors": [{"type": "ByteLevel"}, c["post_processor"]],
                }
            ),
        ),
        (
            "tokenizer_config.json",
            lambda c: c.update(tokenizer_class="TokenizersBackend", use_fast=True),
        ),
        ("tokenizer_config.json", lambda c: c.pop("add_bos_token")),
        (
            "tokenizer_config.json",
            lambda c: c.update(extra_special_tokens=c.pop("additional_special_tokens")),
        ),
        ("tokenizer_config.json", lambda c: c.pop("pad_token")),
        ("tokenizer_config.json", lambda c: c.update(unk_token="<|end_of_text|>")),
        ("tokenizer_config.json", lambda c: c.update(eos_token={"content": c["eos_token"]})),
        ("generation_config.json", lambda c: c["eos_token_id"].reverse()),
        ("generation_config.json", lambda c: c.update(temperature=0.5)),
    ],
    ids=[str(number) for number in range(19)],
)
def test_another_spelling_is_no_difference(
    name: str, edit: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    directory = copy(tmp_path / "m")
    before = (directory / name).read_bytes()
    change(directory, name, edit)
    assert (directory / name).read_bytes() != before
    assert [difference(facts(directory), facts(DEMO), part) for part in PARTS] == [None] * 3


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
