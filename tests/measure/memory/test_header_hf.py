"""A config.json's arithmetic gives published numbers, and says where there is no such number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import qgate
from qgate.errors import MeasurementError
from qgate.measure.memory.kv_cache import kv_bytes_per_token_hf

DEMO = Path(qgate.__file__).parent / "demo" / "model"
LLAMA_8B: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
QWEN_HALF_B = {
    "num_hidden_layers": 24,
    "hidden_size": 896,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "sliding_window": 32768,
    "use_sliding_window": False,
    "layer_types": ["full_attention"] * 24,
}


def test_published_models_take_their_published_bytes() -> None:
    assert kv_bytes_per_token_hf(LLAMA_8B) == 131_072
    assert (
        kv_bytes_per_token_hf(
            {**LLAMA_8B, "num_hidden_layers": 80, "hidden_size": 8192, "num_attention_heads": 64}
        )
        == 327_680
    )
    assert kv_bytes_per_token_hf(QWEN_HALF_B) == 12_288
    assert kv_bytes_per_token_hf(json.loads((DEMO / "config.json").read_text())) == 2048


def test_a_nested_text_model_counts_alone() -> None:
    nested = {"text_config": LLAMA_8B, "vision_config": {"num_hidden_layers": 24}}
    assert kv_bytes_per_token_hf({"hidden_size": 1, **nested}) == 131_072


def test_heads_of_their_own_length_count_by_it() -> None:
    named = {**LLAMA_8B, "head_dim": 192, "v_head_dim": 128}
    assert kv_bytes_per_token_hf(named) == 32 * 8 * (192 + 128) * 2


def test_without_grouped_heads_every_head_counts() -> None:
    assert kv_bytes_per_token_hf({**LLAMA_8B, "num_key_value_heads": None}) == 4 * 131_072
    gpt2 = {"n_layer": 12, "n_embd": 768, "n_head": 12}
    assert kv_bytes_per_token_hf(gpt2) == 2 * 12 * 768 * 2


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"sliding_window": 4096}, "a sliding window for a token (sliding_window)"),
        (
            {"layer_types": ["full_attention", "sliding_attention"]},
            "sliding_attention in some layers for a token (layer_types)",
        ),
        ({"kv_lora_rank": 512}, "a latent vector (MLA) for a token (kv_lora_rank)"),
        ({"state_size": 16}, "a recurrent state for a token (state_size)"),
        ({"mamba_d_state": 128}, "a recurrent state for a token (mamba_d_state)"),
        (
            {"linear_num_key_heads": 16},
            "a recurrent state in some layers for a token (linear_num_key_heads)",
        ),
        (
            {"num_kv_shared_layers": 15},
            "keys and values that layers share for a token (num_kv_shared_layers)",
        ),
        ({"attention_chunk_size": 8192}, "a window of its chunk for a token"),
        ({"text_config": {"sliding_window": 1024}}, "a sliding window for a token"),
    ],
)
def test_other_kinds_of_cache_have_no_such_number(said: dict[str, Any], kept: str) -> None:
    with pytest.raises(MeasurementError) as refused:
        kv_bytes_per_token_hf({**LLAMA_8B, **said})
    assert str(refused.value).startswith(f"memory.kv_cache: llama keeps {kept}")


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"num_hidden_layers": None}, "num_hidden_layers: got no number; expected a whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers: got 0; expected a whole number > 0"),
        ({"num_hidden_layers": 10**6}, "num_hidden_layers: got 1000000; expected <= 65536"),
        ({"num_key_value_heads": True}, "num_key_value_heads: got True; expected a whole number"),
        ({"num_key_value_heads": [8]}, "num_key_value_heads: got no number; expected a whole"),
        ({"num_attention_heads": "32"}, "num_attention_heads: got no number; expected a whole"),
    ],
)
def test_a_header_that_does_not_tell_is_an_error(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(MeasurementError) as refused:
        kv_bytes_per_token_hf({**LLAMA_8B, **said})
    assert str(refused.value).startswith(
        f"memory.kv_cache: config.json does not tell what a token takes: {problem}"
    )
