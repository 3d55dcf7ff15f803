"""What a token's keys and values take, by the dimensions that a GGUF file states.

    bytes = sum over layers of kv_heads * (key_length + value_length) * 2

which is the usual 2 * layers * kv_heads * head_dim * 2 of 16-bit keys and values: 131 072 for a
Llama-3.1-8B, 12 288 for a Qwen2.5-0.5B. It is the sum of llama.cpp's `K (f16)` and `V (f16)` over
the cells, and vLLM's `page_size_bytes / block_size` where its cache is in 16 bits. Models that keep
something else for a token (recurrent states, latent attention, windows that slide, caches that
layers share) have no such number; that is said and not guessed.

Hugging Face directories: `qgate.measure.memory.kv_cache_hf`.

Keys: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.gguf.header import Value

_ELEMENT_BYTES = 2
_MOST_LAYERS = 65_536
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
    layers = _whole(said, "block_count")
    if layers > _MOST_LAYERS:
        raise _unknown("block_count", f"got {layers}", f"expected <= {_MOST_LAYERS}")
    heads = _by_layer(said, "attention.head_count", layers)
    kv_heads = (
        _by_layer(said, "attention.head_count_kv", layers)
        if "attention.head_count_kv" in said
        else heads
    )
    lengths = _length(said, "key", heads) + _length(said, "value", heads)
    found = _ELEMENT_BYTES * lengths * sum(kv_heads)
    if not found:
        raise _unknown("attention.head_count_kv", "got 0 in every layer", "expected a KV cache")
    return found


def _require_plain_cache(said: Mapping[str, Value], architecture: str) -> None:
    for key, value in said.items():
        for beginning, kept in _OTHER_CACHES.items():
            if key.startswith(beginning) and value:
                raise MeasurementError(
                    f"memory.kv_cache: {printable(architecture)} keeps {kept} for a token"
                    f" ({printable(key)}); expected keys and values of every layer, which alone can"
                    " be computed. Switch the row off: memory.kv_cache: off"
                )


def _length(said: Mapping[str, Value], which: str, heads: tuple[int, ...]) -> int:
    """Of a head's key or value."""
    key = f"attention.{which}_length"
    if key in said:
        return _whole(said, key)
    width, most = _whole(said, "embedding_length"), max(heads)
    if not most:
        raise _unknown("attention.head_count", "got 0 in every layer", "expected heads")
    return width // most


def _by_layer(said: Mapping[str, Value], key: str, layers: int) -> tuple[int, ...]:
    """A number that holds for every layer, or one each."""
    value = said.get(key)
    if isinstance(value, tuple):
        numbers = tuple(one for one in value if isinstance(one, int) and one >= 0)
        if len(numbers) != layers or len(value) != layers:
            raise _unknown(key, f"got {len(value)} values", f"expected {layers}, one a layer")
        return numbers
    return (_whole(said, key),) * layers


def _whole(said: Mapping[str, Value], key: str) -> int:
    value = said.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        got = f"got {value}" if isinstance(value, int | float) else "got no number"
        raise _unknown(key, got, "expected a whole number > 0")
    return value


def _unknown(key: str, got: str, expected: str) -> MeasurementError:
    return MeasurementError(
        f"memory.kv_cache: the header does not tell what a token takes: {key}: {got}; {expected}"
    )
