"""The tensors of llama.cpp's quantized files, by its quantizer's rules: nothing is written.

A port of `llama_tensor_get_type_impl` and `tensor_type_fallback` (llama-quant.cpp, October 2026)
for dense models of the Llama kind. SmolLM2's real files, made by llama.cpp, have the same types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.artifacts.bits import of_gguf
from qgate.artifacts.gguf.header import TensorInfo
from qgate.artifacts.gguf.types import FALLBACK, MAIN_TYPE, TYPES_BY_NAME

if TYPE_CHECKING:
    from qgate.records import Bits


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Of one model."""

    width: int
    inner: int
    shared: int
    """Rows of k and v."""
    layers: int
    vocabulary: int
    is_tied: bool = True

    @property
    def gqa(self) -> int:
        return self.width // self.shared


LLAMA_3_8B = Dimensions(4096, 14336, 1024, 32, 128256, is_tied=False)
"""Watt-Tool-8B, too, which is one."""
QWEN_2_5_HALF_B = Dimensions(896, 4864, 128, 24, 151936)
QWEN_3_0_6B = Dimensions(1024, 3072, 512, 28, 151936)
SMOLLM2_135M = Dimensions(576, 1536, 192, 30, 49152)


def bits_of(scheme: str, model: Dimensions) -> Bits:
    """What the gate would tell of the file's header."""
    found = of_gguf(tensors_of(scheme, model))
    assert found is not None
    return found


def tensors_of(scheme: str, model: Dimensions) -> list[TensorInfo]:
    width, inner, shared = model.width, model.inner, model.shared
    shapes = {
        "attn_q": (width, width), "attn_k": (width, shared), "attn_v": (width, shared),
        "attn_output": (width, width), "ffn_gate": (width, inner), "ffn_up": (width, inner),
        "ffn_down": (inner, width),
    }  # fmt: skip
    made = [_tensor("token_embd.weight", _of_head(scheme, model), (width, model.vocabulary))]
    if not model.is_tied:
        made.append(_tensor("output.weight", "Q6_K", (width, model.vocabulary)))
    for layer in range(model.layers):
        for name, shape in shapes.items():
            wanted = _mixed(scheme, name, layer, model)
            if shape[0] % TYPES_BY_NAME[wanted].block_elements:
                wanted = FALLBACK[wanted]
            made.append(_tensor(f"blk.{layer}.{name}.weight", wanted, shape))
    return made


def _tensor(name: str, type_name: str, shape: tuple[int, int]) -> TensorInfo:
    kind = TYPES_BY_NAME[type_name]
    n_bytes = shape[0] * shape[1] // kind.block_elements * kind.block_bytes
    return TensorInfo(name=name, shape=shape, type_name=type_name, n_bytes=n_bytes, offset=0)


def _of_head(scheme: str, model: Dimensions) -> str:
    is_whole = model.width % 256 == 0 and MAIN_TYPE[scheme] != "Q8_0"
    return "Q6_K" if is_whole else "Q8_0"


def _more(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _mixed(scheme: str, name: str, layer: int, model: Dimensions) -> str:
    main, layers = MAIN_TYPE[scheme], model.layers
    of_value = {
        "Q2_K": "Q4_K" if model.gqa >= 4 else "Q3_K",
        "Q3_K_M": "Q5_K" if layer < 2 else "Q4_K",
        "IQ3_M": "Q4_K",
        "Q4_K_M": "Q6_K" if _more(layer, layers) else main,
        "Q5_K_M": "Q6_K" if _more(layer, layers) else main,
    }
    of_down = {
        "Q2_K": "Q3_K",
        "Q3_K_M": "Q5_K" if layer < layers // 16 else "Q4_K",
        "IQ3_M": "Q4_K" if layer < layers // 8 else main,
        "Q4_K_M": "Q6_K" if _more(layer, layers) else main,
        "Q5_K_M": "Q6_K" if _more(layer, layers) else main,
    }
    of_output = {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "IQ3_M": "Q4_K"}
    by_name = {"attn_v": of_value, "ffn_down": of_down, "attn_output": of_output}
    return by_name.get(name, {}).get(scheme, main)
