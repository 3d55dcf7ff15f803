"""What does the header of a safetensors file say, and is everything in place that it promises?

A parser for files nobody vouches for, with one kind of error. It refuses what the safetensors
library refuses (0.8: a header beyond 100 MB, gaps, overlaps, a length that is not the shape's) and
beyond that duplicate names, unknown keys and absurd counts; what follows the header is not read.

Format: https://github.com/huggingface/safetensors#format
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from qgate.errors import ArtifactError
from qgate.untrusted.files import open_regular
from qgate.untrusted.json import parse_json
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import BinaryIO

MAX_HEADER_BYTES = 100_000_000
"""The library's own limit."""
_MAX_DIMENSIONS = 16
_MAX_ELEMENTS = 2**63 - 1
_MAX_NAME = 4096
_KEYS = frozenset({"dtype", "shape", "data_offsets"})

DTYPE_BITS: Mapping[str, int] = MappingProxyType(
    {
        "F64": 64,
        "I64": 64,
        "U64": 64,
        "C64": 64,
        "F32": 32,
        "I32": 32,
        "U32": 32,
        "F16": 16,
        "BF16": 16,
        "I16": 16,
        "U16": 16,
        "BOOL": 8,
        "I8": 8,
        "U8": 8,
        "F8_E4M3": 8,
        "F8_E5M2": 8,
        "F8_E8M0": 8,
        "F8_E4M3FNUZ": 8,
        "F8_E5M2FNUZ": 8,
        "F6_E2M3": 6,
        "F6_E3M2": 6,
        "F4": 4,
    }
)
"""The format's element types."""
UNQUANTIZED_DTYPES = frozenset({"F64", "F32", "F16", "BF16"})


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor: where it lies and how it is stored."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """As in torch: the row length last; empty for a scalar."""
    offset: int
    """From the beginning of the file."""
    n_bytes: int

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        return len(self.shape) >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetensorsHeader:
    """Everything before the tensor data of one file."""

    path: Path
    tensors: tuple[StoredTensor, ...]
    """In the order of their data."""


def read_header(path: Path) -> SafetensorsHeader:
    """Read a header and check that the file holds exactly the data it speaks of.

    Raises:
        ArtifactError: unreadable, malformed, truncated or absurd; nothing else is ever raised.
    """
    where = printable(str(path))
    with open_regular(path) as file:
        try:
            file_bytes = file.seek(0, 2)
            file.seek(0)
            raw = _read_raw(file, file_bytes, where)
        except OSError as error:
            raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    content = parse_json(raw, where)
    if not isinstance(content, dict):
        raise ArtifactError(f"{where}: header: got no object; expected names of tensors.")
    _check_metadata(content.pop("__metadata__", {}), where)
    data_offset = 8 + len(raw)
    tensors = [_tensor(name, entry, data_offset, where) for name, entry in content.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.n_bytes))
    _check_places(tensors, data_offset, file_bytes, where)
    return SafetensorsHeader(path=path, tensors=tuple(tensors))


def _read_raw(file: BinaryIO, file_bytes: int, where: str) -> bytes:
    if not file_bytes:
        raise ArtifactError(f"{where}: the file is empty. Download it again.")
    head = file.read(8)
    if head == b"version ":
        raise ArtifactError(f"{where}: a Git LFS pointer or text, not a model. Run: git lfs pull")
    if len(head) < 8:
        raise ArtifactError(f"{where}: got {file_bytes} bytes; expected a header of 8 or more.")
    (length,) = struct.unpack("<Q", head)
    if length > MAX_HEADER_BYTES:
        expected = f"expected <= {MAX_HEADER_BYTES}. Not a safetensors file, or a hostile one"
        raise ArtifactError(f"{where}: length of the header: got {length} bytes; {expected}.")
    if 8 + length > file_bytes:
        has = f"the file has {file_bytes} bytes"
        raise ArtifactError(f"{where}: the header ends at byte {8 + length}; {has}. {_AGAIN}")
    raw = file.read(length)
    if len(raw) != length:
        raise ArtifactError(f"{where}: the file became shorter while the header was read.")
    if not raw.startswith(b"{"):
        got = quoted(raw[:8].decode("latin-1"))
        raise ArtifactError(f"{where}: header: got {got} at its beginning; expected '{{'.")
    return raw


_AGAIN = "Download it again."


def _check_metadata(content: Any, where: str) -> None:  # noqa: ANN401 - JSON
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise ArtifactError(f"{where}: __metadata__: expected texts by name.")


def _tensor(name: str, entry: Any, data_offset: int, where: str) -> StoredTensor:  # noqa: ANN401 - JSON
    what = f"{where}: tensor {quoted(name)}"
    if not name or len(name) > _MAX_NAME:
        raise ArtifactError(f"{what}: name: got {len(name)} characters; expected 1 to {_MAX_NAME}.")
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise ArtifactError(f"{what}: expected dtype, shape and data_offsets, nothing else.")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        got = quoted(dtype) if isinstance(dtype, str) else "no text"
        raise ArtifactError(f"{what}: unknown dtype: got {got}; expected one of the format's.")
    if not _are_counts(shape) or len(shape) > _MAX_DIMENSIONS or math.prod(shape) > _MAX_ELEMENTS:
        raise ArtifactError(f"{what}: shape: expected whole numbers, <= 2^63 - 1 elements.")
    if not _are_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ArtifactError(f"{what}: data_offsets: expected where it begins and ends.")
    begin, end = offsets
    n_bits = math.prod(shape) * DTYPE_BITS[dtype]
    if n_bits % 8 or end - begin != n_bits // 8:
        got = " x ".join(map(str, shape)) or "a scalar"
        expected = f"expected the {n_bits / 8:g} of {dtype} {got}"
        raise ArtifactError(f"{what}: got {end - begin} bytes; {expected}.")
    return StoredTensor(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        offset=data_offset + begin,
        n_bytes=end - begin,
    )


def _are_counts(values: Any) -> bool:  # noqa: ANN401 - JSON
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= _MAX_ELEMENTS for value in values
    )


def _check_places(
    tensors: list[StoredTensor], data_offset: int, file_bytes: int, where: str
) -> None:
    """One right after the other, from the end of the header to the end of the file."""
    expected = data_offset
    for tensor in tensors:
        what = f"{where}: tensor {quoted(tensor.name)}"
        end = tensor.offset + tensor.n_bytes
        if end > file_bytes:
            raise ArtifactError(
                f"{what} ends at byte {end}; the file has {file_bytes} bytes. {_AGAIN}"
            )
        if tensor.offset != expected:
            at = f"got byte {tensor.offset}; expected {expected}, right after the one before"
            raise ArtifactError(f"{what}: its data begin elsewhere: {at}.")
        expected = end
    if expected != file_bytes:
        at = f"the last tensor ends at byte {expected}; the file has {file_bytes} bytes"
        raise ArtifactError(f"{where}: {at}. {_AGAIN}")
