"""The header's arithmetic gives published numbers, and says where there is no such number."""

from __future__ import annotations

from typing import Any

import pytest

from qgate.artifacts.gguf.header import ArrayFacts
from qgate.errors import MeasurementError
from qgate.measure.memory.kv_cache import kv_bytes_per_token


def header(architecture: str = "llama", **said: Any) -> dict[str, Any]:
    keys = {name.replace("__", "."): value for name, value in said.items()}
    return {
        "general.architecture": architecture,
        **{f"{architecture}.{name}": value for name, value in keys.items() if value is not None},
    }


def llama_8b(**said: Any) -> dict[str, Any]:
    known = {
        "block_count": 32,
        "embedding_length": 4096,
        "attention__head_count": 32,
        "attention__head_count_kv": 8,
    }
    return header(**{**known, **said})


LLAMA_70B = {"block_count": 80, "embedding_length": 8192, "attention__head_count": 64}
QWEN_HALF_B = {
    "architecture": "qwen2",
    "block_count": 24,
    "embedding_length": 896,
    "attention__head_count": 14,
    "attention__head_count_kv": 2,
}


def test_published_models_take_their_published_bytes() -> None:
    assert kv_bytes_per_token(llama_8b()) == 131_072
    assert kv_bytes_per_token(llama_8b(**LLAMA_70B)) == 327_680
    assert kv_bytes_per_token(header(**QWEN_HALF_B)) == 12_288


def test_heads_of_their_own_length_count_by_it() -> None:
    named = llama_8b(attention__key_length=192, attention__value_length=128)

    assert kv_bytes_per_token(named) == 32 * 8 * (192 + 128) * 2


def test_without_grouped_heads_every_head_counts() -> None:
    assert kv_bytes_per_token(llama_8b(attention__head_count_kv=None)) == 4 * 131_072


def test_layers_may_differ() -> None:
    # as in OpenELM and DeciLM: heads by layer, some without attention
    said = llama_8b(
        block_count=4,
        attention__head_count=(16, 16, 32, 0),
        attention__head_count_kv=(4, 4, 8, 0),
        attention__key_length=64,
        attention__value_length=64,
    )

    assert kv_bytes_per_token(said) == (4 + 4 + 8 + 0) * (64 + 64) * 2


OTHER_CACHES = {
    "Mamba": ({"ssm__state_size": 16}, "a recurrent state"),
    "RWKV": ({"wkv__head_size": 64}, "a recurrent state"),
    "DeepSeek": ({"attention__kv_lora_rank": 512}, "a latent vector"),
    "Gemma": ({"attention__sliding_window": 1024}, "a sliding window"),
    "Gemma 3n": ({"attention__shared_kv_layers": 15}, "keys and values that layers share"),
    "Qwen3-Next": ({"full_attention_interval": 4}, "a recurrent state in some layers"),
}


@pytest.mark.parametrize(("said", "kept"), OTHER_CACHES.values(), ids=OTHER_CACHES.keys())
def test_another_kind_of_cache_is_named_and_not_guessed(said: dict[str, Any], kept: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        kv_bytes_per_token(llama_8b(**said))

    line = str(caught.value)
    assert line.startswith(f"memory.kv_cache: llama keeps {kept}")
    assert "\n" not in line


def test_a_window_of_nothing_is_no_window() -> None:
    assert kv_bytes_per_token(llama_8b(attention__sliding_window=0)) == 131_072


SILENT = {
    "no layers": {"block_count": None},
    "a million layers": {"block_count": 10**6},
    "negative layers": {"block_count": -1},
    "a truth for a number": {"block_count": True},
    "no heads": {"attention__head_count": None},
    "heads of too few layers": {"attention__head_count_kv": (8, 8)},
    "heads that are no numbers": {"attention__head_count_kv": (8.0,) * 32},
    "heads of more layers than are kept": {
        "attention__head_count_kv": ArrayFacts(element_type="int32", count=80, digest="")
    },
    "no width": {"embedding_length": None},
    "text for a width": {"embedding_length": "wide"},
    "no cache in any layer": {"attention__head_count_kv": (0,) * 32},
    "no heads in any layer": {"attention__head_count": (0,) * 32},
}


@pytest.mark.parametrize("said", SILENT.values(), ids=SILENT.keys())
def test_a_header_that_does_not_tell_is_one_line(said: dict[str, Any]) -> None:
    with pytest.raises(MeasurementError) as caught:
        kv_bytes_per_token(llama_8b(**said))

    assert str(caught.value).startswith("memory.kv_cache: the header does not tell")


def test_an_empty_header_is_one_line() -> None:
    with pytest.raises(MeasurementError, match="got no number"):
        kv_bytes_per_token({})
