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
    RuntimeOptions,
    RuntimeSettings,
    TextSettings,
)
from tests.thresholds.team_files import load

if TYPE_CHECKING:
    from pathlib import Path


def test_settings_are_taken_key_by_key(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\ntext: {windows: 8, conversation_tokens: 64, seed: 7}\n"
        "runtime: {name: fake, threads: 2}\n",
    )
    assert thresholds.text == TextSettings(windows=8, conversation_tokens=64, seed=7)
    assert thresholds.runtime == RuntimeSettings(name="fake", threads=2)


def test_what_is_served_is_taken_key_by_key_too(tmp_path: Path) -> None:
    thresholds = load(
        tmp_path,
        "version: 1\nedge: {answer_tokens: 16}\nlatency: {pairs: 90, warmup: 3}\n"
        "memory: {batches: 30}\n",
    )
    assert thresholds.edge == EdgeSettings(context_tokens=4096, answer_tokens=16)
    assert thresholds.latency == LatencySettings(
        prompt_tokens=128, output_tokens=16, pairs=90, warmup=3
    )
    assert thresholds.memory == MemorySettings(context_tokens=1024, batches=30)


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


def test_a_runtime_has_an_interpreter_and_options_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "vllm-env").symlink_to(sys.executable)
    thresholds = load(
        tmp_path,
        "version: 1\n"
        "runtime: {reference: transformers}\n"
        "runtimes:\n"
        "  vllm: {python: vllm-env, kv_cache_gib: 1.5}\n"
        "  openai_server: {url: 'http://127.0.0.1:8000/v1', model: m, reference_model: f16}\n",
    )
    assert thresholds.runtime == RuntimeSettings(reference="transformers")
    assert thresholds.runtimes == {
        "vllm": RuntimeOptions(python=tmp_path / "vllm-env", options={"kv_cache_gib": 1.5}),
        "openai_server": RuntimeOptions(
            options={
                "url": "http://127.0.0.1:8000/v1",
                "model": "m",
                "reference_model": "f16",
            }
        ),
    }


def test_what_no_file_says_of_runtimes_is_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, "version: 1\n").runtimes == {}


def test_options_of_a_runtime_are_inherited_key_by_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    shipped = tmp_path / "shipped.yaml"
    shipped.write_text(
        "version: 1\ninherit: none\nlimits: {perplexity.ratio: {max: 2}}\n"
        "runtimes:\n  llama_cpp: {python: python}\n  vllm: {python: python, kv_cache_gib: 1}\n"
        "  openai_server: {url: 'http://a/v1', model: m}\n"
    )
    monkeypatch.setattr("qgate.thresholds.shipped_path", lambda: shipped)
    thresholds = load(
        tmp_path,
        "version: 1\nruntimes: {vllm: {kv_cache_gib: 2}, openai_server: {url: 'http://b/v1'}}\n",
    )
    assert thresholds.runtimes == {
        "llama_cpp": RuntimeOptions(python=python),
        "vllm": RuntimeOptions(python=python, options={"kv_cache_gib": 2}),
        "openai_server": RuntimeOptions(options={"url": "http://b/v1", "model": "m"}),
    }


def test_an_interpreter_from_elsewhere_does_not_replace_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "own").symlink_to(sys.executable)
    named = load(tmp_path, "version: 1\nruntimes: {vllm: {python: own}}\n")
    sized = load(tmp_path, "version: 1\nruntimes: {vllm: {kv_cache_gib: 2}}\n")
    other = tmp_path / "other"
    assert named.with_python("vllm", other) == named
    assert sized.with_python("vllm", other).runtimes == {
        "vllm": RuntimeOptions(python=other, options={"kv_cache_gib": 2})
    }
    assert sized.with_python("vllm", other).layers == sized.layers


def test_a_runtime_of_another_package_may_have_an_interpreter(
    tmp_path: Path, installed: str
) -> None:
    (tmp_path / "python").symlink_to(sys.executable)
    thresholds = load(tmp_path, f"version: 1\nruntimes: {{{installed}: {{python: python}}}}\n")
    assert thresholds.runtimes == {installed: RuntimeOptions(python=tmp_path / "python")}


def test_a_runtime_of_another_package_has_no_other_options(tmp_path: Path, installed: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\nruntimes:\n  {installed}: {{url: 'http://a'}}\n")
    assert str(refusal.value) == (
        f"team.yaml:3: unknown key 'url' in runtimes.{installed}. Valid: python."
    )


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a runtime that another package brings."""
    facts = tmp_path / "site" / "theirs-1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[qgate.runtimes]\ntheirs = theirs:Runtime\n")
    monkeypatch.syspath_prepend(str(facts.parent))
    return "theirs"


@pytest.mark.parametrize("source", ["auto", "generated", "wikitext-2"])
def test_source_words_stay_words(tmp_path: Path, source: str) -> None:
    assert load(tmp_path, f"version: 1\ntext: {{source: {source}}}\n").text.source == source


BAD_SETTINGS = [
    (
        "edge: {answer_token: 64}",
        "2: unknown key 'answer_token' in edge. Did you mean 'answer_tokens'? "
        "Valid: context_tokens, answer_tokens, long_texts, documents, languages, prompts, "
        "math_items, batch_prompts.",
    ),
    (
        "edge: {answer_tokens: 15}",
        "2: edge.answer_tokens: got 15; expected a whole number >= 16 and <= 4096.",
    ),
    (
        "latency:\n  pairs: 5",
        "3: latency.pairs: got 5; expected a whole number >= 6 and <= 2147483647.",
    ),
    (
        "memory: {context_tokens: 8k}",
        "2: memory.context_tokens: got '8k'; expected a whole number >= 64 and <= 2147483647. "
        "Write the number alone: 8.",
    ),
    (
        "runtime: {reference: vLLM}",
        "2: runtime.reference: got 'vLLM'; expected the name of a runtime such as transformers.",
    ),
    (
        "runtimes:\n  vlm: {kv_cache_gib: 1}",
        "3: unknown key 'vlm' in runtimes. Did you mean 'vllm'? "
        "Valid: llama_cpp, transformers, vllm, openai_server, fake.",
    ),
    (
        "runtimes:\n  vllm:\n    kv_cache: 1",
        "4: unknown key 'kv_cache' in runtimes.vllm. Did you mean 'kv_cache_gib'? "
        "Valid: python, kv_cache_gib.",
    ),
    (
        "runtimes:\n  vllm: {kv_cache_gib: 0}",
        "3: runtimes.vllm.kv_cache_gib: got 0; expected a number > 0 (2**30 bytes).",
    ),
    (
        "runtimes:\n  transformers: {kv_cache_gib: 1}",
        "3: unknown key 'kv_cache_gib' in runtimes.transformers. Valid: python.",
    ),
    (
        "runtimes:\n  vllm:\n    python: no-such/python",
        "4: runtimes.vllm.python: no such file: got 'no-such/python'; expected an executable file, "
        "absolute or relative to this file.",
    ),
    (
        "runtimes:\n  openai_server: {url: 127.0.0.1:8000}",
        "3: runtimes.openai_server.url: got '127.0.0.1:8000'; expected an address such as "
        "http://127.0.0.1:8000/v1, without a login or a query in it.",
    ),
    (
        "runtimes:\n  openai_server: {url: 'https://me:s3cret@host/v1'}",
        "3: runtimes.openai_server.url: got 'https://...@host/v1'; expected an address such as "
        "http://127.0.0.1:8000/v1, without a login or a query in it.",
    ),
    (
        "runtimes:\n  openai_server: {url: 'https://host/v1?key=1'}",
        "3: runtimes.openai_server.url: got 'https://host/v1?...'; expected an address such as "
        "http://127.0.0.1:8000/v1, without a login or a query in it.",
    ),
]


@pytest.mark.parametrize(("body", "message"), BAD_SETTINGS, ids=range(len(BAD_SETTINGS)))
def test_wrong_setting_is_refused_with_line_and_remedy(
    tmp_path: Path, body: str, message: str
) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(tmp_path, f"version: 1\n{body}\n")
    assert str(refusal.value) == f"team.yaml:{message}"
