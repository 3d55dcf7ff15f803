"""Which band of limits an artifact is held to: by the bits that its weights really have.

Boundaries are in effective bits a weight (`qgate.artifacts.bits`), between formats that exist:

    from   band       smallest in it                  largest below it
    14     16 bits    F16, BF16: 16                   Q8_0: 8.5
    7.5    8 bits     int8 by channel: 8.0            Q6_K of a narrow model: 7.4
    5.4    6-5 bits   Q5_0, Q5_K_S: 5.5; FP8: 6       Q4_K_M of a narrow model: 5.3
    3.9    4 bits     int4 by channel, Q2_K of a      Q3_K_L of Llama-3-8B: 3.74
                      narrow model: 4.0
    2.9    3 bits     IQ3_XXS of Qwen3-0.6B: 2.98     Q2_K of Llama-3-8B: 2.83
    0      2 bits

A narrow model is one whose width is no multiple of 256: llama.cpp stores most of it in other types.

Eight bits in the inputs of the matrices cost ten times what eight bits in the weights cost
(SmolLM2-135M on WikiText-2: int8 weights by channel KL 0.0041, W8A8 0.040, FP8 0.0345), as much as
weights of 4 bits: an artifact is held to the looser of what its weights and its inputs allow.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Bits

EIGHT_BIT_INPUTS = "8-bit activations"
FOUR_BIT_INPUTS = "4-bit activations"
UNKNOWN = "4 bits"
"""The band of an artifact that does not tell its bits: what most quantized files have."""
BANDS: Mapping[str, str] = MappingProxyType(
    {
        "16 bits": "14 effective bits a weight or more: only rounding.",
        "8 bits": "7.5 effective bits a weight or more.",
        "6-5 bits": "5.4 effective bits a weight or more, and FP8 weights.",
        EIGHT_BIT_INPUTS: "W8A8, FP8 with quantized inputs; weights of more than 4 bits.",
        "4 bits": "3.9 effective bits a weight or more; artifacts that do not tell.",
        "3 bits": "2.9 effective bits a weight or more.",
        FOUR_BIT_INPUTS: "W4A4, NVFP4 with quantized inputs; weights of more than 3 bits.",
        "2 bits": "Fewer.",
    }
)
"""The names, what is allowed rising, and whom each is for."""
_FROM = (
    (14.0, "16 bits"),
    (7.5, "8 bits"),
    (5.4, "6-5 bits"),
    (3.9, "4 bits"),
    (2.9, "3 bits"),
)
_WIDTH = 1e-6
"""Effective bits are rounded to four digits: a boundary belongs to the band above it."""


@dataclass(frozen=True, slots=True)
class Band:
    """A band, and why an artifact is in it."""

    name: str
    reason: str
    """`4.62 effective bits a weight, embedding 6.56`."""

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def band_of(bits: Bits | None) -> Band:
    """The band of an artifact with these bits; None: its headers do not tell."""
    if bits is None:
        return Band(UNKNOWN, "its files do not tell how many bits a weight has")
    order = list(BANDS)
    by_weights = next((name for least, name in _FROM if bits.effective >= least - _WIDTH), "2 bits")
    by_inputs = order[0]
    if bits.activations < 16:
        by_inputs = EIGHT_BIT_INPUTS if bits.activations > 4 else FOUR_BIT_INPUTS
    return Band(max(by_weights, by_inputs, key=order.index), _in_words(bits))


def _in_words(bits: Bits) -> str:
    words = [f"{bits.effective:.2f} effective bits a weight"]
    if bits.group is not None and bits.effective < 14:
        words.append(f"a scale for {bits.group} of them" if bits.group else "a scale a channel")
    if bits.activations < 16:
        words.append(f"activations {bits.activations}")
    if bits.embedding is not None:
        words.append(f"embedding {bits.embedding:.2f}")
    if bits.output is not None:
        words.append(f"output {bits.output:.2f}")
    return ", ".join(words)
