"""What a token's keys and values take, by the dimensions that a GGUF file or config.json states.

    bytes = sum over layers of kv_heads * (key_length + value_length) * 2

which is the usual 2 * layers * kv_heads * head_dim * 2 of 16-bit keys and values: 131 072 for a
Llama-3.1-8B, 12 288 for a Qwen2.5-0.5B. It is the sum of llama.cpp's `K (f16)` and `V (f16)` over
the cells, what transformers' DynamicCache holds, and vLLM's `page_size_bytes / block_size` where
its cache is in 16 bits. Models that keep something else for a token (recurrent states, latent
attention, windows that slide, caches that layers share) have no such number: an error, no guess.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; the configuration classes of
transformers 5.17.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.errors import MeasurementError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.gguf.header import Value

_ELEMENT_BYTES = 2
_MOST_LAYERS = 65_536
_HEADER, _CONFIG = "the header", "config.json"
_OTHER_CACHES: Mapping[str, str] = MappingProxyType(
    {
        "ssm.": "a recurrent state",
        "wkv.": "a recurrent state",
        "token_shift_count": "a recurrent state",
        "shortconv.": "a recurrent state",
        "kda.": "a recurrent state",
        "full_attention_interval": "a recurrent state in some layers",
        "attention.kv_lora_rank": "a latent vector (MLA)",
        "attention.sliding_window": "a sliding window",
        "attention.shared_kv_layers": "keys and values that layers share",
        "attention.indexer.": "an index beside its keys",
        "nextn_predict_layers": "further layers that predict ahead",
    }
)
"""Beginnings of keys after the architecture's name, and what such a model keeps."""
_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers"),
        "num_attention_heads": ("num_attention_heads", "n_head", "num_heads"),
        "hidden_size": ("hidden_size", "n_embd", "d_model"),
    }
)
"""What a number is called, by the newest name."""
_OTHER_CACHES_HF: Mapping[str, str] = MappingProxyType(
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


def kv_bytes_per_token(metadata: Mapping[str, Value]) -> int:
    """Bytes of one token in the KV cache of one sequence, keys and values in 16 bits.

    Args:
        metadata: of the first file's header.

    Raises:
        MeasurementError: the header does not say, or the model has another kind of cache.
    """
    architecture = str(metadata.get("general.architecture", ""))
    said = {
        key.removeprefix(f"{architecture}."): value
        for key, value in metadata.items()
        if key.startswith(f"{architecture}.")
    }
    _require_plain_cache(said, architecture)
    layers = _layers(said, "block_count", _HEADER)
    heads = _by_layer(said, "attention.head_count", layers)
    kv_heads = (
        _by_layer(said, "attention.head_count_kv", layers)
        if "attention.head_count_kv" in said
        else heads
    )
    lengths = _length(said, "key", heads) + _length(said, "value", heads)
    found = _ELEMENT_BYTES * lengths * sum(kv_heads)
    if not found:
        raise _unknown(
            _HEADER, "attention.head_count_kv", "got 0 in every layer", "expected a KV cache"
        )
    return found


def _require_plain_cache(said: Mapping[str, Value], architecture: str) -> None:
    for key, value in said.items():
        for beginning, kept in _OTHER_CACHES.items():
            if key.startswith(beginning) and value:
                raise _other_cache(printable(architecture), kept, printable(key))


def _length(said: Mapping[str, Value], which: str, heads: tuple[int, ...]) -> int:
    """Of a head's key or value."""
    key = f"attention.{which}_length"
    if key in said:
        return _whole(said, key, _HEADER)
    width, most = _whole(said, "embedding_length", _HEADER), max(heads)
    if not most:
        raise _unknown(_HEADER, "attention.head_count", "got 0 in every layer", "expected heads")
    return width // most


def _by_layer(said: Mapping[str, Value], key: str, layers: int) -> tuple[int, ...]:
    """A number that holds for every layer, or one each."""
    value = said.get(key)
    if isinstance(value, tuple):
        numbers = tuple(one for one in value if isinstance(one, int) and one >= 0)
        if len(numbers) != layers or len(value) != layers:
            raise _unknown(
                _HEADER, key, f"got {len(value)} values", f"expected {layers}, one a layer"
            )
        return numbers
    return (_whole(said, key, _HEADER),) * layers


def kv_bytes_per_token_hf(config: Mapping[str, Any]) -> int:
    """Bytes of one token in the KV cache of one sequence, keys and values in 16 bits.

    Args:
        config: config.json.

    Raises:
        MeasurementError: the file does not say, or the model has another kind of cache.
    """
    nested = config.get("text_config")
    said = {**config, **nested} if isinstance(nested, dict) else dict(config)
    _require_plain_cache_hf(said)
    layers = _layers(said, "num_hidden_layers", _CONFIG)
    heads = _whole(said, "num_attention_heads", _CONFIG)
    kv_heads = heads
    if said.get("num_key_value_heads") is not None:
        kv_heads = _whole(said, "num_key_value_heads", _CONFIG)
    if said.get("head_dim") is not None:
        key_length = _whole(said, "head_dim", _CONFIG)
    else:
        key_length = _whole(said, "hidden_size", _CONFIG) // heads
    value_length = key_length
    if said.get("v_head_dim") is not None:
        value_length = _whole(said, "v_head_dim", _CONFIG)
    return _ELEMENT_BYTES * layers * kv_heads * (key_length + value_length)


def _require_plain_cache_hf(said: Mapping[str, Any]) -> None:
    model = said.get("model_type")
    named = printable(model)[:40] if isinstance(model, str) and model else "the model"
    for key, kept in _OTHER_CACHES_HF.items():
        if said.get(key):
            raise _other_cache(named, kept, key)
    # Qwen2 states the width of a window that it does not use
    if said.get("sliding_window") and said.get("use_sliding_window") is not False:
        raise _other_cache(named, "a sliding window", "sliding_window")
    kinds = said.get("layer_types")
    for kind in kinds if isinstance(kinds, list) else ():
        if kind != "full_attention":
            found = printable(kind)[:40] if isinstance(kind, str) else "something else"
            raise _other_cache(named, f"{found} in some layers", "layer_types")


def _layers(said: Mapping[str, Any], key: str, file: str) -> int:
    layers = _whole(said, key, file)
    if layers > _MOST_LAYERS:
        raise _unknown(file, key, f"got {layers}", f"expected <= {_MOST_LAYERS}")
    return layers


def _whole(said: Mapping[str, Any], key: str, file: str) -> int:
    value = next((said[name] for name in _NAMES.get(key, (key,)) if name in said), None)
    if type(value) is not int or value < 1:
        got = f"got {value}" if isinstance(value, int | float) else "got no number"
        raise _unknown(file, key, got, "expected a whole number > 0")
    return value


def _unknown(file: str, key: str, got: str, expected: str) -> MeasurementError:
    return MeasurementError(
        f"memory.kv_cache: {file} does not tell what a token takes: {key}: {got}; {expected}"
    )


def _other_cache(model: str, kept: str, key: str) -> MeasurementError:
    return MeasurementError(
        f"memory.kv_cache: {model} keeps {kept} for a token ({key}); expected keys and values of"
        " every layer, which alone can be computed. Switch the row off: memory.kv_cache: off"
    )
