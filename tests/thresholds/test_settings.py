"""Settings: how texts, runtimes and requests are chosen, key by key, and which are refused."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import (
    EdgeSettings,
    LatencySettings,
    MemorySettings,
    RuntimeSettings,
    TextSettings,
)
from tests.thresholds.loading import load

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_are_taken_key_by_key(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path, "version: 1\ntext: {windows: 8, seed: 7}\nruntime: {name: fake, threads: 2}\n"
    )
    assert thresholds.text == TextSettings(windows=8, seed=7)
    assert thresholds.runtime == RuntimeSettings(name="fake", threads=2)


def test_what_is_served_is_taken_key_by_key_too(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\nedge: {answer_tokens: 16}\nlatency: {pairs: 90, warmup: 1}\n"
        "memory: {batches: 30}\n",
    )
    assert thresholds.edge == EdgeSettings(context_tokens=4096, answer_tokens=16)
    assert thresholds.latency == LatencySettings(
        prompt_tokens=128, output_tokens=48, pairs=90, warmup=1
    )
    assert thresholds.memory == MemorySettings(context_tokens=4096, batches=30)


def test_paths_are_relative_to_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "gates").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "own.jsonl").write_text('{"text": "x"}\n')
    (tmp_path / "gates" / "python").symlink_to(sys.executable)
    thresholds = load(
        tmp_path,
        "version: 1\ntext: {source: ../texts/own.jsonl}\nruntime: {python: python}\n",
        name="gates/team.yaml",
    )
    assert thresholds.text.source == tmp_path / "gates" / ".." / "texts" / "own.jsonl"
    # not resolved: a virtual environment's interpreter is a link and must be started as one
    assert thresholds.runtime.python == tmp_path / "gates" / "python"


@pytest.mark.parametrize("source", ["auto", "generated", "wikitext-2"])
def test_source_words_stay_words(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, f"version: 1\ntext: {{source: {source}}}\n").text.source == source


BAD_SETTINGS = [
    (
        "edge: {answer_token: 64}",
        "2: unknown key 'answer_token' in edge. Did you mean 'answer_tokens'? "
        "Valid: context_tokens, answer_tokens.",
    ),
    (
        "latency: {pair: 90}",
        "2: unknown key 'pair' in latency. Did you mean 'pairs'? "
        "Valid: prompt_tokens, output_tokens, pairs, warmup.",
    ),
    (
        "memory: {context: 8192}",
        "2: unknown key 'context' in memory. Did you mean 'context_tokens'? "
        "Valid: context_tokens, batches.",
    ),
    (
        "edge: {context_tokens: 63}",
        "2: edge.context_tokens: got 63; expected a whole number >= 64 and <= 2147483647.",
    ),
    (
        "edge: {answer_tokens: 15}",
        "2: edge.answer_tokens: got 15; expected a whole number >= 16 and <= 4096.",
    ),
    (
        "edge: {answer_tokens: 4097}",
        "2: edge.answer_tokens: got 4097; expected a whole number >= 16 and <= 4096.",
    ),
    (
        "latency:\n  pairs: 5",
        "3: latency.pairs: got 5; expected a whole number >= 6 and <= 2147483647.",
    ),
    (
        "latency: {output_tokens: 7}",
        "2: latency.output_tokens: got 7; expected a whole number >= 8 and <= 2147483647.",
    ),
    (
        "latency: {prompt_tokens: 0}",
        "2: latency.prompt_tokens: got 0; expected a whole number >= 1 and <= 2147483647.",
    ),
    (
        "latency: {warmup: 0}",
        "2: latency.warmup: got 0; expected a whole number >= 1 and <= 2147483647.",
    ),
    (
        "memory: {batches: 29}",
        "2: memory.batches: got 29; expected a whole number >= 30 and <= 2147483647.",
    ),
    (
        "memory: {context_tokens: 8k}",
        "2: memory.context_tokens: got '8k'; expected a whole number >= 64 and <= 2147483647. "
        "Write the number alone: 8.",
    ),
    ("memory: 24GB", "2: memory: got '24GB'; expected a mapping."),
]


@pytest.mark.parametrize(("body", "message"), BAD_SETTINGS, ids=range(len(BAD_SETTINGS)))
def test_wrong_setting_is_refused_with_line_and_remedy(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\n{body}\n")
    assert str(refusal.value) == f"team.yaml:{message}"
