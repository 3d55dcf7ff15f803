"""How compressed-tensors stores a module, by its config_groups.

Formats of compressed-tensors 0.17: `pack-quantized` (integers in words of 32 bits, along the rows),
`int-quantized` and `float-quantized` (one number a weight), `nvfp4-` and `mxfp4-pack-quantized`
(two codes a byte). The scale has one number a tensor, a row (channel), a group of a row or a block.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.quantization import config_groups, is_about, weights_args, whole, word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.artifacts.hf.modules import Module
    from qgate.artifacts.hf.safetensors import StoredTensor

_WORD_BITS = 32
_PACKED = "weight_packed"
_FOUR_BITS: Mapping[str, tuple[int, tuple[str, ...]]] = MappingProxyType(
    {
        "nvfp4-pack-quantized": (16, ("F8_E4M3",)),
        "mxfp4-pack-quantized": (32, ("U8", "F8_E8M0")),
    }
)
"""format -> weights that share a scale, and the scale's types"""
_PLAIN = frozenset({"int-quantized", "float-quantized", "naive-quantized"})
FORMATS = frozenset({"pack-quantized", *_PLAIN, *_FOUR_BITS})
"""Formats that are read here."""


def formats_of(claim: Mapping[str, Any]) -> frozenset[str]:
    """All formats that the configuration names."""
    named = [claim.get("format"), *(group.get("format") for group in config_groups(claim))]
    return frozenset(word(name) for name in named if name and name != "mixed-precision")


def read_compressed(module: Module, claim: Mapping[str, Any]) -> tuple[int, str] | None:
    """How many weights a module holds and what is wrong with it; None where it is not quantized."""
    scale, packed = module.parts.get("weight_scale"), module.parts.get(_PACKED)
    weight = packed or module.parts.get("weight")
    if weight is None or (scale is None and packed is None and weight.dtype not in _NUMBERS):
        return None
    if scale is None:
        return weight.n_elements, "without weight_scale"
    if len(weight.shape) != 2:
        return weight.n_elements, f"weights of {len(weight.shape)} dimensions"
    groups = [group for group in config_groups(claim) if is_about(group, module.name)]
    if not groups:
        return weight.n_elements, "quantized, but no config_group is about it"
    found = [_read(weight, scale, group, claim) for group in groups]
    return next((one for one in found if not one[1]), found[0])


_NUMBERS = ("I8", "F8_E4M3", "F8_E5M2")


def _read(
    weight: StoredTensor,
    scale: StoredTensor,
    group: Mapping[str, Any],
    claim: Mapping[str, Any],
) -> tuple[int, str]:
    form = word(group.get("format")) or word(claim.get("format"))
    args, _ = weights_args(group)
    bits = whole(args, "num_bits") or 0
    rows = weight.shape[0]
    if form == "pack-quantized":
        is_packed, columns = weight.dtype == "I32", _WORD_BITS * weight.shape[1] // max(1, bits)
    elif form in _FOUR_BITS:
        is_packed, columns = weight.dtype == "U8", 2 * weight.shape[1]
    else:
        wanted = ("F8_E4M3", "F8_E5M2") if args.get("type") == "float" else ("I8",)
        is_packed, columns = weight.dtype in wanted and bits == 8, weight.shape[1]
    if not is_packed:
        return rows * columns, f"stored in {weight.dtype}"
    if form in _FOUR_BITS:
        size, dtypes = _FOUR_BITS[form]
        fits = scale.dtype in dtypes and scale.shape == (rows, -(-columns // size))
    else:
        fits = scale.shape in _scale_shapes(rows, columns, args)
    got = f"{weight.shape[0]} x {weight.shape[1]} and {' x '.join(map(str, scale.shape))}"
    return rows * columns, "" if fits else f"weights and scales do not fit: {got}"


def _scale_shapes(rows: int, columns: int, args: Mapping[str, Any]) -> tuple[tuple[int, ...], ...]:
    strategy, size = args.get("strategy"), whole(args, "group_size") or 0
    block = args.get("block_structure")
    if strategy in ("group", "tensor_group") and size > 0:
        return ((rows, -(-columns // size)),)
    if strategy == "block" and isinstance(block, list) and len(block) == 2:
        high, wide = (one if type(one) is int and one > 0 else 1 for one in block)
        return ((-(-rows // high), -(-columns // wide)),)
    if strategy == "channel":
        return ((rows, 1), (rows,))
    return ((1,), (), (1, 1))
