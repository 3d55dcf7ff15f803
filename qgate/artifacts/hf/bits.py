"""Bits of a Hugging Face directory's weights: from safetensors headers and what its config says.

Each module's codes are found by their type and shape, and how many weights they are by what the
method says or the shapes tell; where neither does, by the model's dimensions. Scales, zeros and
blocks' maxima of a module count, tables that all modules share do not.

Numbers with an exponent are counted by their error. FP8 in e4m3 stores 8 bits, of which 3 are the
fraction: an error of 2.6 % of each weight (2^-4 / sqrt(3) over its mean place between two powers),
that of 5.7-bit integers with a scale for 32 normal weights, which store 6.2 bits. It counts as 6,
e5m2 as 5. The measured divergences of FP8 agree: between those of 8 and of 4 bits.

bitsandbytes' INT8 multiplies with inputs of 8 bits, too, but for the few columns with outliers.
On a Llama of 5 M parameters it cost 0.0003 nats, int8 weights alone 0.0002, W8A8 0.0005: its inputs
count as 16 bits.
"""

from __future__ import annotations

import math
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.bits import Stored, summed
from qgate.artifacts.hf.modules import is_skipped, modules_of
from qgate.artifacts.hf.quantization import (
    config_groups,
    is_about,
    method_of,
    torchao_type,
    weights_args,
    whole,
)
from qgate.artifacts.hf.safetensors import DTYPE_BITS, UNQUANTIZED_DTYPES
from qgate.artifacts.hf.weights import read_weights
from qgate.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from qgate.artifacts.hf.modules import Module
    from qgate.artifacts.hf.safetensors import StoredTensor
    from qgate.records import Bits

_EMBEDDINGS = frozenset(
    {"embed_tokens", "tok_embeddings", "word_embeddings", "embed_in", "wte", "wpe"}
)
_OUTPUTS = frozenset({"lm_head", "embed_out", "output_projection"})
_LIKE_INTEGERS: Mapping[str, float] = MappingProxyType(
    {"F8_E4M3": 6.0, "F8_E4M3FNUZ": 6.0, "F8_E5M2": 5.0, "F8_E5M2FNUZ": 5.0}
)
"""Bits of integers in groups of 32 with the error of these numbers, scales included."""
_TWO_A_BYTE = frozenset({"blocks", "weight_packed"})
"""Parts that hold two codes a byte where they are bytes."""
_SHARED = re.compile(r"quant_map|quant_state|input_scale|g_idx|shape|bias")
"""Parts that are no price of a weight: tables, what is about inputs, an order."""
_SKIPPED = ("modules_to_not_convert", "llm_int8_skip_modules")


def of_hf(
    directory: Path,
    config: Mapping[str, Any],
    quantization: Mapping[str, Any] | None,
    quantize: Mapping[str, Any] | None,
) -> Bits | None:
    """Of a directory's weights.

    Args:
        directory: the model's.
        config: its config.json.
        quantization: how the weights are stored; None where they are not quantized.
        quantize: how they are quantized while they are loaded; None: not at all.

    Returns:
        None where the files do not tell, or cannot be read: `integrity.files` says why.
    """
    try:
        modules = modules_of(read_weights(directory))
    except ArtifactError:
        return None
    said = quantization or {}
    places: dict[str, list[Stored]] = {"blocks": [], "embeddings": [], "outputs": []}
    for module in modules:
        last = module.name.rpartition(".")[2]
        place = "embeddings" if last in _EMBEDDINGS else "outputs" if last in _OUTPUTS else "blocks"
        found = _module(module, said, quantize, config)
        if found is None:
            return None
        places[place] += found
    activations = _activations(said if quantize is None else _at_load(quantize))
    return summed(**places, activations=activations)


def _module(
    module: Module,
    said: Mapping[str, Any],
    quantize: Mapping[str, Any] | None,
    config: Mapping[str, Any],
) -> list[Stored] | None:
    """Its matrices; None where it holds codes and nothing tells how many weights they are."""
    codes = [part for part, tensor in module.parts.items() if _are_codes(tensor)]
    if codes and said:
        part = max(codes, key=lambda name: module.parts[name].n_bytes)
        one = _codes(module, part, said, config)
        return None if one is None else [one]
    plain = [t for t in module.parts.values() if t.is_matrix and t.dtype in UNQUANTIZED_DTYPES]
    skipped = [one for key in _SKIPPED for one in (quantize or {}).get(key) or ()]
    if quantize is not None and module.is_linear and not is_skipped(module.name, skipped):
        return [_while_loading(tensor, quantize) for tensor in plain]
    return [_plain(tensor) for tensor in plain]


def _are_codes(tensor: StoredTensor) -> bool:
    return tensor.is_matrix and tensor.dtype not in UNQUANTIZED_DTYPES


def _plain(tensor: StoredTensor) -> Stored:
    bits = float(DTYPE_BITS[tensor.dtype])
    return Stored(weights=tensor.n_elements, bits=bits, effective=bits)


def _codes(
    module: Module, part: str, said: Mapping[str, Any], config: Mapping[str, Any]
) -> Stored | None:
    """A module of which `part` holds the codes."""
    codes = module.parts[part]
    width = _code_bits(module, part, said)
    weights = int(codes.n_bytes * 8 / width) if width else _by_dimensions(module.name, config)
    if not weights:
        return None
    others = [t for name, t in module.parts.items() if name != part and not _SHARED.search(name)]
    stored = 8 * (codes.n_bytes + sum(tensor.n_bytes for tensor in others)) / weights
    scale = max((tensor.n_elements for tensor in others), default=0)
    return Stored(
        weights=weights,
        bits=stored,
        effective=_LIKE_INTEGERS.get(codes.dtype, stored),
        group=_group(weights, scale),
    )


def _group(weights: int, scales: int) -> int | None:
    """Weights to a scale, where that is a size that methods use; 0 from some hundreds on."""
    if not scales:
        return 0
    size = weights / scales
    return 0 if size > 512 else round(size) if math.isclose(size, round(size)) else None


def _code_bits(module: Module, part: str, said: Mapping[str, Any]) -> float:
    """Bits of one code; 0 where nothing tells."""
    codes = module.parts[part]
    if codes.dtype.startswith("F") or (codes.dtype == "I8" and part != "weight_packed"):
        return DTYPE_BITS[codes.dtype]
    zeros, scales = module.parts.get("qzeros"), module.parts.get("scales")
    if part == "qweight" and zeros is not None and scales is not None:
        columns = scales.shape[-1] if scales.shape else 0
        packed = codes.shape[1] if columns != codes.shape[1] else zeros.shape[-1]
        return 32 * packed / columns if columns else 0
    if codes.dtype == "U8" and (part in _TWO_A_BYTE or method_of(said) == "bitsandbytes"):
        return 4
    if method_of(said) == "compressed-tensors":
        groups = [group for group in config_groups(said) if is_about(group, module.name)]
        return whole(weights_args(groups[0])[0], "num_bits") or 0 if groups else 0
    if method_of(said) == "torchao":
        return 4
    inner = said.get("quant_config")
    inner = inner.get("weight_quant_params") if isinstance(inner, dict) else None
    own = whole(inner, "nbits") if isinstance(inner, dict) else None
    return own or whole(said, "bits", "w_bit") or 0


def _by_dimensions(name: str, config: Mapping[str, Any]) -> int:
    """Weights of a matrix of a Llama-like model, by what config.json says of its sizes; 0: none."""
    nested = config.get("text_config")
    said = nested if isinstance(nested, dict) else config
    width, inner = whole(said, "hidden_size") or 0, whole(said, "intermediate_size") or 0
    heads = whole(said, "num_attention_heads") or 0
    size = whole(said, "head_dim") or (width // heads if heads else 0)
    shared = whole(said, "num_key_value_heads") or heads
    sizes = dict.fromkeys(("q_proj", "o_proj"), width * heads * size)
    sizes |= dict.fromkeys(("k_proj", "v_proj"), width * shared * size)
    sizes |= dict.fromkeys(("gate_proj", "up_proj", "down_proj"), width * inner)
    return sizes.get(name.rpartition(".")[2], 0)


def _at_load(quantize: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**quantize, "quant_method": quantize["method"]}


def _while_loading(tensor: StoredTensor, quantize: Mapping[str, Any]) -> Stored:
    """What a plain matrix becomes while it is loaded.

    bitsandbytes has a maximum of 32 bits for 64 weights, or of 8 and another 32 for 256 of those;
    torchao's int4 a scale and a zero of 16 bits for 128.
    """
    bits, group = 8.0, 0
    if quantize.get("load_in_4bit") is True:
        is_double = quantize.get("bnb_4bit_use_double_quant") is True
        bits, group = 4 + (8 / 64 + 32 / (64 * 256) if is_double else 32 / 64), 64
    elif str(quantize.get("quant_type", "")).startswith("int4"):
        bits, group = 4 + 32 / 128, 128
    is_float = str(quantize.get("quant_type", "")).startswith("float8")
    effective = _LIKE_INTEGERS["F8_E4M3"] if is_float else bits
    return Stored(weights=tensor.n_elements, bits=bits, effective=effective, group=group)


def _activations(said: Mapping[str, Any]) -> int:
    """Bits of the inputs, the fewest of any group; 16 where they are not quantized."""
    method = method_of(said)
    if method == "compressed-tensors":
        inputs = [weights_args(group)[1] for group in config_groups(said)]
        return min((whole(one, "num_bits") or 16 for one in inputs if one), default=16)
    if method in ("fp8", "fbgemm_fp8"):
        return 8
    if method == "torchao":
        named = said.get("quant_type")
        name = named if isinstance(named, str) else torchao_type(said)[0]
        name = name.lower().replace("_", "")
        return 8 if "dynamicactivation" in name else 16
    if method == "auto-round":
        return whole(said, "act_bits") or 16
    return _of_algorithm(_algorithms(said))


def _algorithms(said: Mapping[str, Any]) -> Iterable[str]:
    """What ModelOpt calls what it did: `NVFP4`, `W4A8_AWQ`."""
    nested = said.get("quantization")
    for place in (said, nested if isinstance(nested, dict) else {}):
        named = place.get("quant_algo")
        if isinstance(named, str):
            yield named.upper()


def _of_algorithm(names: Iterable[str]) -> int:
    found = 16
    for name in names:
        told = re.search(r"W\d+A(\d+)", name)
        if told:
            found = min(found, int(told[1]))
        elif name.endswith("_WO"):
            continue
        elif name.startswith(("NVFP4", "MXFP4")):
            found = min(found, 4)
        elif name.startswith(("FP8", "MXFP8", "INT8_SQ")):
            found = min(found, 8)
    return found
