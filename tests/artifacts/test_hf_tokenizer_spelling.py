"""Tokenizers of Hugging Face directories: what is only another spelling is no difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.artifacts.tokenizer.comparison import PARTS, difference
from tests.artifacts.hf_directories import DEMO, change, copy, facts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
