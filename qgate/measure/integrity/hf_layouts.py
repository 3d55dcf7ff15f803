"""How one module is stored, by each method's own layout: does it hold what the method claims?

A reader is asked of every module. It gives None where the module is not this method's, else how
many weights it holds and what is wrong with it. Only names, types and shapes are looked at; where
they tell bits and group size, these have to be those of the configuration.

Layouts: AutoGPTQ/gptqmodel (qweight rows packed, qzeros columns), AutoAWQ GEMM (columns packed),
compressed-tensors 0.17, bitsandbytes 0.50, transformers 5.17's fp8 and mxfp4, torchao 0.18 as
transformers flattens it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.quantization import torchao_type, whole
from qgate.measure.integrity.compressed_tensors import read_compressed

if TYPE_CHECKING:
    from qgate.artifacts.hf.modules import Module
    from qgate.artifacts.hf.safetensors import StoredTensor

_WORD_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a module holds."""

    n_weights: int
    problem: str = ""
    """Why that is not what is claimed; without the module's name."""


Claim = Mapping[str, Any]
Reader = Callable[["Module", Claim], Reading | None]


def shapes(*tensors: StoredTensor) -> str:
    """`I32 32 x 128 and F16 2 x 128`."""
    return " and ".join(
        f"{tensor.dtype} {' x '.join(map(str, tensor.shape)) or 'scalar'}" for tensor in tensors
    )


def _gptq(module: Module, claim: Claim) -> Reading | None:
    found = _words(module)
    if found is None or isinstance(found, Reading):
        return found
    qweight, qzeros, scales = found
    columns = qweight.shape[1]
    bits = _whole_ratio(_WORD_BITS * qzeros.shape[1], columns)
    g_idx = module.parts.get("g_idx")
    rows = _WORD_BITS * qweight.shape[0] // bits if bits else 0
    if g_idx is not None and (g_idx.dtype != "I32" or g_idx.shape != (rows,)):
        return Reading(n_weights=0, problem=f"g_idx does not fit: {shapes(qweight, g_idx)}")
    return _of_groups(claim, bits, (rows, columns), qzeros, scales)


def _awq(module: Module, claim: Claim) -> Reading | None:
    found = _words(module)
    if found is None or isinstance(found, Reading):
        return found
    qweight, qzeros, scales = found
    rows, columns = qweight.shape[0], scales.shape[1]
    bits = _whole_ratio(_WORD_BITS * qweight.shape[1], columns)
    if qzeros.shape[1] != qweight.shape[1]:
        return Reading(n_weights=0, problem=f"qzeros do not fit: {shapes(qweight, qzeros)}")
    return _of_groups(claim, bits, (rows, columns), qzeros, scales)


def _words(module: Module) -> tuple[StoredTensor, StoredTensor, StoredTensor] | Reading | None:
    """Packed weights, packed zeros and scales, or what is wrong with them."""
    if not {"qweight", "qzeros", "scales"} & module.parts.keys():
        return None
    for name in ("qweight", "qzeros", "scales"):
        if name not in module.parts:
            return Reading(n_weights=0, problem=f"without {name}")
    qweight, qzeros, scales = (module.parts[name] for name in ("qweight", "qzeros", "scales"))
    is_packed = qweight.dtype == qzeros.dtype == "I32"
    are_matrices = all(len(tensor.shape) == 2 and tensor.n_bytes for tensor in (qweight, qzeros))
    if not is_packed or not are_matrices or len(scales.shape) != 2 or not scales.n_bytes:
        return Reading(n_weights=0, problem=f"got {shapes(qweight, qzeros, scales)}")
    if scales.dtype not in ("F16", "BF16", "F32"):
        return Reading(n_weights=0, problem=f"scales: got {scales.dtype}")
    return qweight, qzeros, scales


def _of_groups(
    claim: Claim,
    bits: int,
    shape: tuple[int, int],
    qzeros: StoredTensor,
    scales: StoredTensor,
) -> Reading:
    rows, columns = shape
    groups = scales.shape[0]
    n_weights = rows * columns
    if scales.shape[1] != columns or qzeros.shape[0] != groups or not bits:
        return Reading(n_weights=n_weights, problem=f"do not fit: {shapes(qzeros, scales)}")
    wanted_bits, wanted_groups = _claimed(claim, "bits", "w_bit"), _claimed(claim, *_GROUP_SIZE)
    if wanted_bits and bits not in wanted_bits:
        return Reading(n_weights=n_weights, problem=f"stored in {bits} bit")
    sizes = {size if size > 0 else rows for size in wanted_groups}
    if sizes and groups not in {-(-rows // size) for size in sizes}:
        return Reading(n_weights=n_weights, problem=f"stored in {groups} groups of {rows} rows")
    return Reading(n_weights=n_weights)


_GROUP_SIZE = ("group_size", "q_group_size")


def _claimed(claim: Claim, *keys: str) -> set[int]:
    """A number, and those that gptqmodel's `dynamic` has for some modules."""
    dynamic = claim.get("dynamic")
    places = [claim, *(dynamic.values() if isinstance(dynamic, dict) else ())]
    numbers = (whole(place, *keys) for place in places if isinstance(place, dict | Mapping))
    return {number for number in numbers if number is not None}


def _whole_ratio(numerator: int, denominator: int) -> int:
    return numerator // denominator if denominator and numerator % denominator == 0 else 0


def _bitsandbytes(module: Module, claim: Claim) -> Reading | None:
    weight = module.parts.get("weight")
    states = [part for part in module.parts if part.startswith("weight.quant_state.")]
    if weight is None or not (states or "SCB" in module.parts or weight.dtype in ("U8", "I8")):
        return None
    if claim.get("load_in_8bit") is True:
        scale = module.parts.get("SCB")
        if weight.dtype != "I8" or scale is None or not weight.is_matrix:
            return Reading(n_weights=weight.n_elements, problem="not int8 with SCB")
        fits = scale.dtype == "F32" and scale.n_elements == weight.shape[0]
        problem = "" if fits else f"SCB does not fit: {shapes(weight, scale)}"
        return Reading(n_weights=weight.n_elements, problem=problem)
    return _four_bits(module, claim, weight, states)


def _four_bits(module: Module, claim: Claim, weight: StoredTensor, states: list[str]) -> Reading:
    n_weights = 2 * weight.n_bytes
    kind = claim.get("bnb_4bit_quant_type", "fp4")
    absmax = module.parts.get("weight.absmax")
    is_double = "weight.nested_absmax" in module.parts
    if absmax is None or not states:
        return Reading(n_weights=n_weights, problem="without absmax or quant_state")
    if states != [f"weight.quant_state.bitsandbytes__{kind}"]:
        stored = states[0].rpartition("__")[2][:10]
        return Reading(n_weights=n_weights, problem=f"stored as {stored}")
    if is_double != (claim.get("bnb_4bit_use_double_quant") is True):
        nested = "with" if is_double else "without"
        return Reading(n_weights=n_weights, problem=f"{nested} double quantization")
    block = math.ceil(n_weights / absmax.n_elements) if absmax.n_elements else 0
    if (
        block not in (32, 64, 128, 256, 512, 1024, 2048, 4096)
        or (absmax.dtype == "U8") != is_double
    ):
        return Reading(n_weights=n_weights, problem=f"do not fit: {shapes(weight, absmax)}")
    return Reading(n_weights=n_weights)


def _fp8(module: Module, claim: Claim) -> Reading | None:
    weight = module.parts.get("weight")
    if weight is None or weight.dtype not in ("F8_E4M3", "F8_E5M2", "I8", "U8"):
        return None
    scale = module.parts.get("weight_scale_inv") or module.parts.get("weight_scale")
    if weight.dtype != f"F8_{str(claim.get('fmt') or 'e4m3').upper()}" or scale is None:
        return Reading(n_weights=weight.n_elements, problem=f"{weight.dtype} or without a scale")
    block = claim.get("weight_block_size")
    if isinstance(block, list) and len(block) == len(weight.shape) == 2:
        sides = [one if type(one) is int and one > 0 else 1 for one in block]
        expected = tuple(-(-n // side) for n, side in zip(weight.shape, sides, strict=True))
        if scale.shape != expected:
            return Reading(
                n_weights=weight.n_elements, problem=f"do not fit: {shapes(weight, scale)}"
            )
    return Reading(n_weights=weight.n_elements)


def _fbgemm_fp8(module: Module, _: Claim) -> Reading | None:
    reading, weight = _fp8(module, {}), module.parts.get("weight")
    if reading is None or reading.problem or weight is None:
        return reading
    scale = module.parts.get("weight_scale")
    fits = scale is not None and scale.n_elements == weight.shape[0]
    return reading if fits else Reading(n_weights=weight.n_elements, problem="scale does not fit")


def _mxfp4(module: Module, _: Claim) -> Reading | None:
    blocks, scales = module.parts.get("blocks"), module.parts.get("scales")
    if blocks is None and scales is None:
        return None
    if blocks is None or scales is None or blocks.dtype != "U8":
        return Reading(n_weights=0, problem="without blocks or scales of bytes")
    fits = blocks.shape[:-1] == scales.shape and scales.dtype in ("U8", "F8_E8M0")
    problem = "" if fits else f"do not fit: {shapes(blocks, scales)}"
    return Reading(n_weights=2 * blocks.n_elements, problem=problem)


_TORCHAO: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"int8": ("I8",), "float8": ("F8_E4M3", "F8_E5M2"), "intx": ("I8",)}
)


def _torchao(module: Module, claim: Claim) -> Reading | None:
    data, scale = module.parts.get("_weight_qdata"), module.parts.get("_weight_scale")
    if data is None and scale is None:
        return None
    if data is None or scale is None:
        return Reading(n_weights=0, problem="without qdata or scale")
    name, settings = torchao_type(claim)
    kind = name.lower().replace("dynamicactivation", "_").replace("_dynamic_activation", "_")
    weight_kind = kind.rpartition("_")[2] if "_" in kind and "weight_only" not in kind else kind
    wanted = next(
        (dtypes for start, dtypes in _TORCHAO.items() if weight_kind.startswith(start)), ()
    )
    if wanted and data.dtype not in wanted:
        return Reading(n_weights=data.n_elements, problem=f"stored in {data.dtype}")
    if not wanted:  # four-bit kinds are packed in ways that differ by device
        per_byte = 2 if data.dtype in ("U8", "I8") else 8
        return Reading(n_weights=per_byte * data.n_elements)
    granularity = settings.get("weight_granularity") or settings.get("granularity") or {}
    inner = granularity.get("_data") if isinstance(granularity, dict) else None
    size = whole(inner, "group_size") if isinstance(inner, dict) else None
    size = size or whole(settings, "group_size")
    if size and size > 0 and scale.n_elements * size != data.n_elements:
        return Reading(n_weights=data.n_elements, problem=f"do not fit: {shapes(data, scale)}")
    return Reading(n_weights=data.n_elements)


def _compressed(module: Module, claim: Claim) -> Reading | None:
    found = read_compressed(module, claim)
    return found and Reading(n_weights=found[0], problem=found[1])


READERS: Mapping[str, Reader] = MappingProxyType(
    {
        "gptq": _gptq,
        "awq": _awq,
        "bitsandbytes": _bitsandbytes,
        "compressed-tensors": _compressed,
        "fp8": _fp8,
        "fbgemm_fp8": _fbgemm_fp8,
        "mxfp4": _mxfp4,
        "torchao": _torchao,
    }
)
"""quant_method -> what reads a module"""
SKIPPED_KEYS = (
    "modules_to_not_convert",
    "llm_int8_skip_modules",
    "ignore",
    "ignored_layers",
)
"""Where methods list the modules that they leave alone."""
OTHER_LAYOUTS: Mapping[str, tuple[str, frozenset[str]]] = MappingProxyType(
    {
        "gptq": ("checkpoint_format", frozenset({"gptq", "gptq_v2"})),
        "awq": ("version", frozenset({"gemm", "GEMM"})),
    }
)
"""A key that names the layout, and the names of the one that is read here."""
