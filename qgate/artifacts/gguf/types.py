"""ggml's tensor types and llama.cpp's file types, by their numbers in a GGUF file.

From ggml.h, ggml-common.h and llama.h of llama.cpp (October 2026). Numbers that llama.cpp has
withdrawn (Q4_2, Q4_0_4_4, ...) are absent: files that use them are refused, as llama.cpp does.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class GgmlType:
    """How a tensor's rows are stored: in blocks of elements."""

    name: str
    block_elements: int
    block_bytes: int

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block_elements


_ROWS = (
    # number, name, elements and bytes of a block
    (0, "F32", 1, 4),
    (1, "F16", 1, 2),
    (2, "Q4_0", 32, 18),
    (3, "Q4_1", 32, 20),
    (6, "Q5_0", 32, 22),
    (7, "Q5_1", 32, 24),
    (8, "Q8_0", 32, 34),
    (9, "Q8_1", 32, 36),  # never in files; gguf 0.19 says 40, ggml-common.h 2 * 2 + 32
    (10, "Q2_K", 256, 84),
    (11, "Q3_K", 256, 110),
    (12, "Q4_K", 256, 144),
    (13, "Q5_K", 256, 176),
    (14, "Q6_K", 256, 210),
    (15, "Q8_K", 256, 292),
    (16, "IQ2_XXS", 256, 66),
    (17, "IQ2_XS", 256, 74),
    (18, "IQ3_XXS", 256, 98),
    (19, "IQ1_S", 256, 50),
    (20, "IQ4_NL", 32, 18),
    (21, "IQ3_S", 256, 110),
    (22, "IQ2_S", 256, 82),
    (23, "IQ4_XS", 256, 136),
    (24, "I8", 1, 1),
    (25, "I16", 1, 2),
    (26, "I32", 1, 4),
    (27, "I64", 1, 8),
    (28, "F64", 1, 8),
    (29, "IQ1_M", 256, 56),
    (30, "BF16", 1, 2),
    (34, "TQ1_0", 256, 54),
    (35, "TQ2_0", 256, 66),
    (39, "MXFP4", 32, 17),
    (40, "NVFP4", 64, 36),
    (41, "Q1_0", 128, 18),
    (42, "Q2_0", 64, 18),
)

GGML_TYPES: Mapping[int, GgmlType] = MappingProxyType(
    {
        number: GgmlType(name=name, block_elements=elements, block_bytes=size)
        for number, name, elements, size in _ROWS
    }
)
TYPES_BY_NAME: Mapping[str, GgmlType] = MappingProxyType(
    {ggml_type.name: ggml_type for ggml_type in GGML_TYPES.values()}
)

UNQUANTIZED = frozenset({"F64", "F32", "F16", "BF16"})
"""Types that store each weight by itself."""

_FILE_ROWS = (
    # general.file_type, its name, the tensor type that most weights get
    (0, "F32", "F32"),
    (1, "F16", "F16"),
    (2, "Q4_0", "Q4_0"),
    (3, "Q4_1", "Q4_1"),
    (7, "Q8_0", "Q8_0"),
    (8, "Q5_0", "Q5_0"),
    (9, "Q5_1", "Q5_1"),
    (10, "Q2_K", "Q2_K"),
    (11, "Q3_K_S", "Q3_K"),
    (12, "Q3_K_M", "Q3_K"),
    (13, "Q3_K_L", "Q3_K"),
    (14, "Q4_K_S", "Q4_K"),
    (15, "Q4_K_M", "Q4_K"),
    (16, "Q5_K_S", "Q5_K"),
    (17, "Q5_K_M", "Q5_K"),
    (18, "Q6_K", "Q6_K"),
    (19, "IQ2_XXS", "IQ2_XXS"),
    (20, "IQ2_XS", "IQ2_XS"),
    (21, "Q2_K_S", "Q2_K"),
    (22, "IQ3_XS", "IQ3_S"),
    (23, "IQ3_XXS", "IQ3_XXS"),
    (24, "IQ1_S", "IQ1_S"),
    (25, "IQ4_NL", "IQ4_NL"),
    (26, "IQ3_S", "IQ3_S"),
    (27, "IQ3_M", "IQ3_S"),
    (28, "IQ2_S", "IQ2_XS"),
    (29, "IQ2_M", "IQ2_S"),
    (30, "IQ4_XS", "IQ4_XS"),
    (31, "IQ1_M", "IQ1_M"),
    (32, "BF16", "BF16"),
    (36, "TQ1_0", "TQ1_0"),
    (37, "TQ2_0", "TQ2_0"),
    (38, "MXFP4_MOE", "MXFP4"),
    (39, "NVFP4", "NVFP4"),
    (40, "Q1_0", "Q1_0"),
    (41, "Q2_0", "Q2_0"),
)

FILE_TYPES: Mapping[int, str] = MappingProxyType({number: name for number, name, _ in _FILE_ROWS})
MAIN_TYPE: Mapping[str, str] = MappingProxyType({name: main for _, name, main in _FILE_ROWS})
"""Scheme to the tensor type that llama.cpp's quantizer starts from."""

FALLBACK: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(("Q2_0", "Q2_K", "Q3_K", "TQ1_0", "TQ2_0"), "Q4_0"),
        **dict.fromkeys(("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S"), "IQ4_NL"),
        **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_XS"), "IQ4_NL"),
        "Q4_K": "Q5_0",
        "Q5_K": "Q5_1",
        "Q6_K": "Q8_0",
    }
)
"""What the quantizer takes where a row is no multiple of the block; where that fails too: F16."""

MIXED_IN: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        scheme: frozenset(types.split())
        for scheme, types in {
            "Q2_K": "Q3_K Q4_K Q5_K",
            "Q2_K_S": "Q4_K",
            "Q3_K_S": "Q5_K",
            "Q3_K_M": "Q4_K Q5_K",
            "Q3_K_L": "Q4_K Q5_K",
            "Q4_0": "Q4_1",
            "Q4_K_S": "Q5_K",
            "Q4_K_M": "Q5_K Q6_K",
            "Q5_0": "Q5_1",
            "Q5_K_M": "Q6_K",
            "IQ1_S": "Q2_K Q4_K Q5_K IQ2_XXS",
            "IQ1_M": "Q2_K Q4_K Q5_K IQ2_XXS",
            "IQ2_XXS": "Q2_K Q4_K Q5_K",
            "IQ2_XS": "Q2_K Q4_K Q5_K",
            "IQ2_S": "Q4_K Q5_K IQ3_S",
            "IQ2_M": "Q4_K Q5_K IQ3_S",
            "IQ3_XXS": "Q3_K Q4_K Q5_K IQ2_S IQ3_S",
            "IQ3_XS": "Q4_K Q5_K IQ3_XXS",
            "IQ3_S": "Q4_K Q5_K",
            "IQ3_M": "Q4_K Q5_K",
            "IQ4_NL": "Q5_K",
            "IQ4_XS": "Q5_K",
            "MXFP4_MOE": "Q8_0",
        }.items()
    }
)
"""What llama.cpp's quantizer gives to some matrices of the layers in place of the main type
(`llama_tensor_get_type_impl` of llama-quant.cpp, October 2026). Where a model's width is no
multiple of 256, these may be all that is left of a scheme beside the fallback types."""
