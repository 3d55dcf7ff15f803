"""The same arithmetic (`kv_cache_gguf`) by what a Hugging Face config.json states.

    bytes = layers * kv_heads * (head_dim + v_head_dim) * 2

Agrees with vLLM's `page_size_bytes / block_size` and with what transformers' DynamicCache holds,
both in 16 bits. Keys: the configuration classes of transformers 5.17; those of models that keep
something else for a token are refused by name.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

_ELEMENT_BYTES = 2
_MOST_LAYERS = 65_536
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers"),
        "num_attention_heads": ("num_attention_heads", "n_head", "num_heads"),
        "hidden_size": ("hidden_size", "n_embd", "d_model"),
    }
)
"""What a number is called, by the newest name."""
_OTHER_CACHES: Mapping[str, str] = MappingProxyType(
    {
        "kv_lora_rank": "a latent vector (MLA)",
        "index_topk": "an index beside its keys",
        "state_size": "a recurrent state",
        "ssm_state_size": "a recurrent state",
        "ssm_cfg": "a recurrent state",
        "mamba_d_state": "a recurrent state",
        "linear_num_key_heads": "a recurrent state in some layers",
        "layers_block_type": "a recurrent state in some layers",
        "hybrid_override_pattern": "a recurrent state in some layers",
        "attn_layer_period": "a recurrent state in some layers",
        "conv_L_cache": "a recurrent state in some layers",
        "attention_chunk_size": "a window of its chunk",
        "num_kv_shared_layers": "keys and values that layers share",
        "cla_share_factor": "keys and values that layers share",
        "num_nextn_predict_layers": "further layers that predict ahead",
        "block_configs": "something else in each layer",
        "global_head_dim": "keys of another length in some layers",
        "multi_query": "keys and values of heads that are not stated",
        "is_encoder_decoder": "keys and values of an encoder too",
    }
)
"""Keys, and what a model that has one keeps."""


def kv_bytes_per_token_hf(config: Mapping[str, Any]) -> int:
    """Bytes of one token in the KV cache of one sequence, keys and values in 16 bits.

    Args:
        config: config.json.

    Raises:
        MeasurementError: the file does not say, or the model has another kind of cache.
    """
    nested = config.get("text_config")
    said = {**config, **nested} if isinstance(nested, dict) else dict(config)
    _require_plain_cache(said)
    layers = _whole(said, "num_hidden_layers")
    if layers > _MOST_LAYERS:
        raise _unknown("num_hidden_layers", f"got {layers}", f"expected <= {_MOST_LAYERS}")
    heads = _whole(said, "num_attention_heads")
    kv_heads = heads
    if said.get("num_key_value_heads") is not None:
        kv_heads = _whole(said, "num_key_value_heads")
    if said.get("head_dim") is not None:
        key_length = _whole(said, "head_dim")
    else:
        key_length = _whole(said, "hidden_size") // heads
    value_length = key_length
    if said.get("v_head_dim") is not None:
        value_length = _whole(said, "v_head_dim")
    return _ELEMENT_BYTES * layers * kv_heads * (key_length + value_length)


def _require_plain_cache(said: Mapping[str, Any]) -> None:
    for key, kept in _OTHER_CACHES.items():
        if said.get(key):
            raise _other_cache(said, kept, key)
    # Qwen2 states the width of a window that it does not use
    if said.get("sliding_window") and said.get("use_sliding_window") is not False:
        raise _other_cache(said, "a sliding window", "sliding_window")
    kinds = said.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else ():
        if kind != "full_attention":
            named = printable(kind)[:40] if isinstance(kind, str) else "something else"
            raise _other_cache(said, f"{named} in some layers", "layer_types")


def _other_cache(said: Mapping[str, Any], kept: str, key: str) -> MeasurementError:
    model = said.get("model_type")
    named = printable(model)[:40] if isinstance(model, str) and model else "the model"
    return MeasurementError(
        f"memory.kv_cache: {named} keeps {kept} for a token ({key}); expected keys and values of"
        " every layer, which alone can be computed. Switch the row off: memory.kv_cache: off"
    )


def _whole(said: Mapping[str, Any], key: str) -> int:
    value = next((said[name] for name in _NAMES.get(key, (key,)) if name in said), None)
    if type(value) is not int or value < 1:
        got = f"got {value}" if isinstance(value, int | float) else "got no number"
        raise _unknown(key, got, "expected a whole number > 0")
    return value


def _unknown(key: str, got: str, expected: str) -> MeasurementError:
    return MeasurementError(
        f"memory.kv_cache: config.json does not tell what a token takes: {key}: {got}; {expected}"
    )
