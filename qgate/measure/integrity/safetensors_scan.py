"""The same look at safetensors files: every floating-point number, and packed weights as a whole.

Of packed integers any bit pattern is a number, so they are looked at for being all the same: zeros,
or the code that stands for zero (0x88 of symmetric four-bit codes), are a matrix of nothing. Their
scales are numbers like any other. F8_E4M3 has NaN and no Inf; MXFP4's scales are exponents of which
255 is NaN (OCP Microscaling Formats 1.0).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.hf.safetensors import UNQUANTIZED_DTYPES
from qgate.measure.integrity.weight_scan import LAYOUTS, Layout, Stretch, scan_stretches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.artifacts.hf.safetensors import SafetensorsHeader, StoredTensor
    from qgate.measure.integrity.weight_scan import TensorScan

_BY_DTYPE: Mapping[str, Layout] = MappingProxyType(
    {
        **{dtype: LAYOUTS[dtype] for dtype in sorted(UNQUANTIZED_DTYPES)},
        "C64": LAYOUTS["F32"],
        "F8_E4M3": Layout(word="u1", magnitude=0x7F, infinity=0x7F, at=(0,)),
        "F8_E5M2": Layout(word="u1", magnitude=0x7F, infinity=0x7C, at=(0,)),
        "F8_E8M0": Layout(word="u1", magnitude=0xFF, infinity=0xFF, at=(0,)),
    }
)
"""Types of which some bit patterns are no numbers; the FNUZ kinds, which have one, are left out."""
_WORD_BYTES: Mapping[str, int] = MappingProxyType({"<u8": 8, "<u4": 4, "<u2": 2, "u1": 1})
_PACKED = ("qweight", "weight_packed", "weight_qdata", "weight", "blocks")
_SCALES = ("scales", "weight_scale", "weight_scale_inv", "global_scale", "scb", "absmax")
_EXPONENTS = frozenset({"mxfp4", "mxfp4-pack-quantized"})


def scan_safetensors(header: SafetensorsHeader, formats: frozenset[str]) -> Iterator[TensorScan]:
    """Look at all tensors of a file, one after the other.

    Args:
        header: of the file.
        formats: what its quantization is called, for types whose meaning hangs on it.

    Raises:
        ArtifactError: the file cannot be read, or became shorter.
    """
    has_exponents = bool(formats & _EXPONENTS)
    stretches = (_stretch(tensor, has_exponents) for tensor in header.tensors)
    return scan_stretches(header.path, stretches)


def _stretch(tensor: StoredTensor, has_exponents: bool) -> Stretch:
    role = tensor.name.lower()
    is_scale = role.endswith(_SCALES)
    layout = _BY_DTYPE.get(tensor.dtype)
    if has_exponents and is_scale and tensor.dtype == "U8":
        layout = _BY_DTYPE["F8_E8M0"]
    is_packed = layout is None and role.endswith(_PACKED) and tensor.is_matrix
    is_number = layout is not None and tensor.dtype in (*UNQUANTIZED_DTYPES, "F8_E4M3", "F8_E5M2")
    return Stretch(
        name=tensor.name,
        type_name=tensor.dtype,
        offset=tensor.offset,
        n_bytes=tensor.n_bytes,
        block_bytes=_WORD_BYTES[layout.word] if layout else 1,
        layout=layout,
        is_matrix=is_packed or (is_number and (tensor.is_matrix or is_scale)),
        wants_constant=is_packed,
    )
