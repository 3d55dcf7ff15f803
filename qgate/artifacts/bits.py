"""How many bits a model's weights really have: from headers alone, nothing is loaded.

A name does not tell: llama.cpp puts other types in place of a scheme's where a row is no multiple
of 256, mixes differ by maker, and `bitsandbytes` is 4 or 8 bits. Limits go by what is told here.

A mix counts by its damage, not by its mean. The step of a quantizer halves with each bit, so the
power of its error goes with 4^-bits (the 6 dB a bit of uniform quantization: Bennett 1948,
doi:10.1002/j.1538-7305.1948.tb01340.x), and errors of independent matrices add up:

    effective bits = -log2(mean over weights of 4^-bits) / 2

One weight in eight at 2 bits beside others at 8 makes 3.5 effective bits, where the mean is 7.25.
Llama-3-8B: Q4_K_M 4.61 (mean 4.80), Q3_K_L 3.74 (4.19), Q2_K 2.83 (2.94), Q5_0 5.50.

The scale's bits are counted: they buy precision, too. The largest of 32 weights is about 2.3, of
some thousand 3.6 standard deviations of a normal distribution: a scale for 32 weights instead of a
whole channel halves the step by two thirds of a bit, and takes half a bit a weight.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.types import TYPES_BY_NAME
from qgate.records import Bits

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qgate.artifacts.gguf.header import TensorInfo

_EMBEDDINGS = frozenset({"token_embd.weight", "per_layer_token_embd.weight"})
_OUTPUT = "output.weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One matrix as it is stored."""

    weights: int
    bits: float
    """Stored bits a weight, scales and zeros included."""
    effective: float
    """Bits a weight of integers with the same error; `bits` but for numbers with an exponent."""
    group: int | None = None
    """As `Bits.group`."""


def summed(
    blocks: Sequence[Stored],
    embeddings: Sequence[Stored] = (),
    outputs: Sequence[Stored] = (),
    activations: int = 16,
) -> Bits | None:
    """All matrices of a model together.

    Args:
        blocks: the matrices that make up its layers.
        embeddings: what looks tokens up.
        outputs: the matrix that makes logits, where it is not the embedding.
        activations: bits of what the matrices are multiplied with.

    Returns:
        None where there is no matrix in any layer.
    """
    if not any(one.weights for one in blocks):
        return None
    groups = {one.group for one in blocks if one.effective < 16}
    return Bits(
        effective=round(effective_bits(blocks), 4),
        mean=round(_mean(blocks), 4),
        embedding=round(_mean(embeddings), 4) if embeddings else None,
        output=round(_mean(outputs), 4) if outputs else None,
        group=groups.pop() if len(groups) == 1 else None,
        activations=activations,
    )


def effective_bits(matrices: Iterable[Stored]) -> float:
    """Bits a weight of one format that does the damage of all of these together."""
    matrices = list(matrices)
    weights = sum(one.weights for one in matrices)
    power = sum(one.weights * 4.0**-one.effective for one in matrices) / weights
    return -math.log2(power) / 2


def _mean(matrices: Sequence[Stored]) -> float:
    return sum(one.weights * one.bits for one in matrices) / sum(one.weights for one in matrices)


def of_gguf(tensors: Iterable[TensorInfo]) -> Bits | None:
    """Of a GGUF file's tensors, by their types."""
    matrices = [tensor for tensor in tensors if tensor.is_matrix]
    return summed(
        blocks=[stored_as(tensor, tensor.type_name) for tensor in block_matrices(matrices)],
        embeddings=[
            stored_as(tensor, tensor.type_name) for tensor in matrices if tensor.name in _EMBEDDINGS
        ],
        outputs=[
            stored_as(tensor, tensor.type_name) for tensor in matrices if tensor.name == _OUTPUT
        ],
    )


def block_matrices(tensors: Iterable[TensorInfo]) -> list[TensorInfo]:
    """The matrices of the layers: without embedding and output matrix."""
    return [
        tensor
        for tensor in tensors
        if tensor.is_matrix and tensor.name not in _EMBEDDINGS and tensor.name != _OUTPUT
    ]


def stored_as(tensor: TensorInfo, type_name: str) -> Stored:
    """A tensor if it were of this type."""
    bits = TYPES_BY_NAME[type_name].bits_per_weight
    return Stored(weights=tensor.n_elements, bits=bits, effective=bits)
