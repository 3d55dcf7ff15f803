"""Does every stored number have a value? A streaming look at tensor data, bounded in memory.

What is common to all formats, and GGUF; safetensors: `qgate.measure.integrity.safetensors_scan`.

Numbers stored by themselves (F32, F16, BF16, F64) are looked at one by one. Of block types the
16-bit scales are looked at, since any bit pattern of the quants is a number: one NaN scale makes
32 or 256 weights NaN. Layouts: ggml-common.h of llama.cpp, October 2026.

llama.cpp loads such files, and may even answer with finite logits, since a NaN activation is
quantized away in the next matrix product; `check_tensors` of its loader does the same as this scan.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.artifacts.gguf.types import TYPES_BY_NAME
from qgate.errors import ArtifactError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from qgate.artifacts.gguf.header import GgufHeader, TensorInfo

BLOCK_BYTES = 8 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where in a block the floating-point numbers are."""

    word: str
    """numpy's name of an unsigned integer as wide as the number."""
    magnitude: int
    """The bits without the sign."""
    infinity: int
    """The magnitude of Inf; NaNs lie above."""
    at: tuple[int, ...]
    """Their places in a block, in words."""


def _halves(*offsets_bytes: int) -> Layout:
    at = tuple(offset // 2 for offset in offsets_bytes)
    return Layout(word="<u2", magnitude=0x7FFF, infinity=0x7C00, at=at)


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "F64": Layout(word="<u8", magnitude=2**63 - 1, infinity=0x7FF << 52, at=(0,)),
        "F32": Layout(word="<u4", magnitude=0x7FFFFFFF, infinity=0x7F800000, at=(0,)),
        "F16": _halves(0),
        "BF16": Layout(word="<u2", magnitude=0x7FFF, infinity=0x7F80, at=(0,)),
        **dict.fromkeys(("Q1_0", "Q2_0", "Q4_0", "Q5_0", "Q8_0"), _halves(0)),
        **dict.fromkeys(("Q4_1", "Q5_1"), _halves(0, 2)),
        "Q2_K": _halves(80, 82),
        "Q3_K": _halves(108),
        **dict.fromkeys(("Q4_K", "Q5_K"), _halves(0, 2)),
        "Q6_K": _halves(208),
        **dict.fromkeys(("IQ1_S", "IQ2_XXS", "IQ2_XS", "IQ2_S"), _halves(0)),
        **dict.fromkeys(("IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS"), _halves(0)),
        "TQ1_0": _halves(52),
        "TQ2_0": _halves(64),
    }
)
"""Types that can be scanned. Not among them: IQ1_M (a scale in nibbles), MXFP4, NVFP4."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorScan:
    """What a scan found in one tensor."""

    name: str
    type_name: str
    n_bytes: int
    n_numbers: int
    """Weights, or scales of blocks; 0 where the type cannot be scanned for them."""
    n_not_finite: int
    is_matrix: bool
    is_zero: bool
    """Whether every weight is zero."""
    is_constant: bool = False
    """Whether all bytes are the same, where that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A tensor's bytes in its file, and what is looked for in them."""

    name: str
    type_name: str
    offset: int
    """From the beginning of the file."""
    n_bytes: int
    block_bytes: int
    layout: Layout | None
    """None: only whether all is zero."""
    is_matrix: bool
    wants_constant: bool = False


def scan_tensors(header: GgufHeader) -> Iterator[TensorScan]:
    """Look at all tensors of a file, one after the other.

    Raises:
        ArtifactError: the file cannot be read, or became shorter.
    """
    return scan_stretches(header.path, map(_stretch, header.tensors))


def _stretch(tensor: TensorInfo) -> Stretch:
    return Stretch(
        name=tensor.name,
        type_name=tensor.type_name,
        offset=tensor.offset,
        n_bytes=tensor.n_bytes,
        block_bytes=TYPES_BY_NAME[tensor.type_name].block_bytes,
        layout=LAYOUTS.get(tensor.type_name),
        is_matrix=tensor.is_matrix,
    )


def scan_stretches(path: Path, stretches: Iterable[Stretch]) -> Iterator[TensorScan]:
    """Look at tensors of one file, one after the other.

    Raises:
        ArtifactError: the file cannot be read, or became shorter.
    """
    where = printable(str(path))
    buffer = bytearray(BLOCK_BYTES)
    with open_regular(path) as file:
        for stretch in stretches:
            try:
                yield _scan(file, stretch, buffer)
            except EOFError:
                name = printable(stretch.name)
                raise ArtifactError(
                    f"{where}: the file became shorter while tensor {name} was read."
                ) from None
            except OSError as error:
                reason = error.strerror or error
                raise ArtifactError(f"{where}: cannot be read: {reason}.") from error


def _scan(file: BinaryIO, stretch: Stretch, buffer: bytearray) -> TensorScan:
    layout = stretch.layout
    n_not_finite, is_zero, is_constant = 0, True, stretch.wants_constant
    first: int | None = None
    for block in _blocks(file, stretch, buffer):
        bad, largest = _look(block, layout, stretch.block_bytes)
        n_not_finite += bad
        is_zero = is_zero and not largest
        first = block[0] if first is None else first
        is_constant = is_constant and _is_all(block, first)
    n_blocks = stretch.n_bytes // stretch.block_bytes
    return TensorScan(
        name=stretch.name,
        type_name=stretch.type_name,
        n_bytes=stretch.n_bytes,
        n_numbers=n_blocks * len(layout.at) if layout else 0,
        n_not_finite=n_not_finite,
        is_matrix=stretch.is_matrix,
        is_zero=is_zero and stretch.n_bytes > 0,
        is_constant=is_constant and stretch.n_bytes > 0,
    )


def _blocks(file: BinaryIO, stretch: Stretch, buffer: bytearray) -> Iterator[memoryview]:
    """The tensor's bytes in whole blocks of its type, in a buffer that is used again."""
    step = len(buffer) // stretch.block_bytes * stretch.block_bytes
    file.seek(stretch.offset)
    left = stretch.n_bytes
    while left:
        view = memoryview(buffer)[: min(step, left)]
        if file.readinto(view) != len(view):  # type: ignore[attr-defined]  # a BufferedReader
            raise EOFError
        yield view
        left -= len(view)


def _is_all(block: memoryview, byte: int) -> bool:
    import numpy as np

    return bool((np.frombuffer(block, dtype=np.uint8) == byte).all())


def _look(block: memoryview, layout: Layout | None, block_bytes: int) -> tuple[int, int]:
    """How many numbers are NaN or Inf, and the largest magnitude as bits."""
    import numpy as np

    if layout is None:
        return 0, int(np.frombuffer(block, dtype=np.uint8).any())
    words: Any = np.frombuffer(block, dtype=layout.word)
    n_not_finite, largest = 0, 0
    words = words.reshape(-1, block_bytes // words.itemsize)
    for at in layout.at:
        magnitudes = words[:, at] & words.dtype.type(layout.magnitude)
        top = int(magnitudes.max())
        largest = max(largest, top)
        if top >= layout.infinity:
            n_not_finite += int((magnitudes >= layout.infinity).sum())
    return n_not_finite, largest
