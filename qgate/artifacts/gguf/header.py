"""What does the header of a GGUF file say, and is everything in place that it promises?

A parser for files nobody vouches for: bounded in time (under a second) and memory (under 100 MB)
whatever the counts in the file claim, and with one kind of error. It refuses what llama.cpp's own
loader refuses (ggml/src/gguf.cpp, October 2026), which would say no reason or end the process, and
beyond that: zero-sized dimensions, strings that are not UTF-8, absurd counts.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import dataclasses
import math
import struct
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.types import GGML_TYPES
from qgate.errors import ArtifactError
from qgate.untrusted.files import Window, open_regular
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_KEYS = 8_192
MAX_TENSORS = 65_536
MAX_TUPLE = 64
"""Arrays of numbers up to this length are kept, longer ones only hashed."""
MAX_TEXT_BYTES = 1 << 20
_MAX_KEPT_TEXT_BYTES = 8 << 20
_MAX_KEY_BYTES = 65_535
_MAX_TENSOR_NAME_BYTES = 63
_MAX_ELEMENTS = 2**63 - 1
_SMALLEST_KEY_BYTES = 8 + 1 + 4 + 1
_SMALLEST_TENSOR_BYTES = 8 + 4 + 4 + 8

_STRING, _ARRAY, _UINT32 = 8, 9, 4
_U32 = struct.Struct("<I")
_SCALARS: Mapping[int, tuple[str, struct.Struct]] = MappingProxyType(
    {
        0: ("uint8", struct.Struct("<B")),
        1: ("int8", struct.Struct("<b")),
        2: ("uint16", struct.Struct("<H")),
        3: ("int16", struct.Struct("<h")),
        _UINT32: ("uint32", _U32),
        5: ("int32", struct.Struct("<i")),
        6: ("float32", struct.Struct("<f")),
        7: ("bool", struct.Struct("<?")),
        10: ("uint64", struct.Struct("<Q")),
        11: ("int64", struct.Struct("<q")),
        12: ("float64", struct.Struct("<d")),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayFacts:
    """What is kept of a value too long to hold."""

    element_type: str
    """`string`, `int32`, ...; `byte` for one string that is too long."""
    count: int
    digest: str
    """`sha256:...` over the bytes in the file, lengths of strings included."""
    first: tuple[str, ...] = ()
    """The first few of an array of strings."""


Value = int | float | str | tuple[int | float, ...] | ArrayFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor: where it lies and how it is stored."""

    name: str
    shape: tuple[int, ...]
    """In ggml's order: the row length first."""
    type_name: str
    n_bytes: int
    offset: int
    """From the beginning of the file."""

    @property
    def n_elements(self) -> int:
        return math.prod(self.shape)

    @property
    def is_matrix(self) -> bool:
        """Whether it is a weight that quantization is about: two dimensions or more."""
        return len(self.shape) >= 2


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Everything before the tensor data of one file."""

    path: Path
    metadata: Mapping[str, Value]
    tensors: tuple[TensorInfo, ...]
    file_bytes: int


def read_header(path: Path) -> GgufHeader:
    """Read a header and check that the file holds all data it speaks of.

    Raises:
        ArtifactError: unreadable, malformed, truncated or absurd; nothing else is ever raised.
    """
    where = printable(str(path))
    with open_regular(path) as file:
        try:
            window = Window(file, where)
            _require_version(window)
            n_tensors = _read_count(window, "tensors", MAX_TENSORS, _SMALLEST_TENSOR_BYTES)
            n_keys = _read_count(window, "metadata keys", MAX_KEYS, _SMALLEST_KEY_BYTES)
            metadata = _read_metadata(window, n_keys)
            tensors = _read_tensors(window, n_tensors, _alignment(window, metadata))
        except OSError as error:
            raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    return GgufHeader(
        path=path,
        metadata=MappingProxyType(metadata),
        tensors=tensors,
        file_bytes=window.file_bytes,
    )


def _require_version(window: Window) -> None:
    if not window.file_bytes:
        raise window.error("the file is empty. Download it again.")
    magic = window.take(min(window.file_bytes, 4), "the magic number")
    if magic == b"vers":
        raise window.error("a Git LFS pointer or text, not a model. Run: git lfs pull")
    if magic != b"GGUF":
        got = quoted(magic.decode("latin-1"))
        raise window.error(f"not a GGUF file: got {got} at its beginning; expected 'GGUF'.")
    version = int(window.unpack(_U32, "the version"))
    if version & 0xFFFF == 0 and version:
        raise window.error("a big-endian GGUF file: expected little-endian. Convert it again.")
    if version not in (2, 3):
        raise window.error(f"GGUF version: got {version}; expected 2 or 3.")


def _read_count(window: Window, of_what: str, most: int, smallest_bytes: int) -> int:
    count = window.u64(f"the number of {of_what}")
    if count > most:
        raise window.error(f"number of {of_what}: got {count}; expected <= {most}.")
    if count * smallest_bytes > window.bytes_left:
        has = f"the file has {window.file_bytes} bytes"
        raise window.error(f"number of {of_what}: got {count}; {has}. Download it again.")
    return count


def _read_metadata(window: Window, n_keys: int) -> dict[str, Value]:
    metadata: dict[str, Value] = {}
    text_bytes = 0
    for index in range(n_keys):
        key = window.text(f"metadata key {index}", _MAX_KEY_BYTES)
        if not key:
            raise window.error(f"metadata key {index} is empty.")
        if key in metadata:
            raise window.error(f"duplicate metadata key {quoted(key)}.")
        value = _read_value(window, key)
        text_bytes += len(key) + (len(value) if isinstance(value, str) else 0)
        if text_bytes > _MAX_KEPT_TEXT_BYTES:
            raise window.error(f"more than {_MAX_KEPT_TEXT_BYTES} characters of metadata.")
        metadata[key] = value
    return metadata


def _read_value(window: Window, key: str) -> Value:
    what = f"the value of {quoted(key)}"
    number = int(window.unpack(_U32, what))
    if key == "general.alignment" and number != _UINT32:
        raise window.error(f"general.alignment: got value type {number}; expected 4 (uint32).")
    if number == _STRING:
        length = window.u64(what)
        if length > MAX_TEXT_BYTES:
            digest = window.digest(length, what)
            return ArrayFacts(element_type="byte", count=length, digest=digest)
        return window.decoded(window.take(length, what), what)
    if number == _ARRAY:
        return _read_array(window, what)
    if number not in _SCALARS:
        raise window.error(f"{what} has an unknown type: got {number}; expected 0 to 12.")
    return window.unpack(_SCALARS[number][1], what)


def _read_array(window: Window, what: str) -> Value:
    number = int(window.unpack(_U32, what))
    count = window.u64(what)
    if number == _ARRAY:
        raise window.error(f"{what} is an array of arrays. Refused, as llama.cpp does.")
    if number == _STRING:
        digest, first = window.digest_strings(count, what, n_first=3)
        return ArrayFacts(element_type="string", count=count, digest=digest, first=first)
    if number not in _SCALARS:
        raise window.error(f"{what} has an unknown element type: got {number}; expected 0 to 12.")
    name, form = _SCALARS[number]
    if count > MAX_TUPLE:
        digest = window.digest(count * form.size, what)
        return ArrayFacts(element_type=name, count=count, digest=digest)
    raw = window.take(count * form.size, what)
    return tuple(value for (value,) in form.iter_unpack(raw))


def _alignment(window: Window, metadata: Mapping[str, Value]) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise window.error(f"general.alignment: got {alignment}; expected a power of two.")
    return alignment


def _read_tensors(window: Window, n_tensors: int, alignment: int) -> tuple[TensorInfo, ...]:
    entries: dict[str, TensorInfo] = {}
    for index in range(n_tensors):
        entry = _read_entry(window, index)
        if entry.name in entries:
            raise window.error(f"duplicate tensor {quoted(entry.name)}.")
        entries[entry.name] = entry
    data_offset = _round_up(window.offset, alignment)
    tensors, expected = [], 0
    for entry in entries.values():
        begin = data_offset + entry.offset
        if begin + entry.n_bytes > window.file_bytes:
            end = f"ends at byte {begin + entry.n_bytes}"
            has = f"the file has {window.file_bytes} bytes"
            raise window.error(f"tensor {quoted(entry.name)} {end}; {has}. Download it again.")
        if entry.offset != expected:
            at = f"got {entry.offset}; expected {expected}, right after the one before"
            raise window.error(f"tensor {quoted(entry.name)}: offset in the data: {at}.")
        expected = _round_up(expected + entry.n_bytes, alignment)
        tensors.append(dataclasses.replace(entry, offset=begin))
    return tuple(tensors)


def _read_entry(window: Window, index: int) -> TensorInfo:
    """A tensor as the header has it: its offset counts from the beginning of the data."""
    name = window.text(f"the name of tensor {index}", _MAX_TENSOR_NAME_BYTES)
    what = f"tensor {quoted(name)}"
    n_dims = int(window.unpack(_U32, what))
    if n_dims > 4:
        raise window.error(f"{what}: number of dimensions: got {n_dims}; expected <= 4.")
    shape = struct.unpack(f"<{n_dims}Q", window.take(8 * n_dims, what))
    if 0 in shape or math.prod(shape) > _MAX_ELEMENTS:
        got = " x ".join(str(length) for length in shape)
        raise window.error(f"{what}: shape: got {got}; expected 1 to 2^63 - 1 elements.")
    number = int(window.unpack(_U32, what))
    ggml_type = GGML_TYPES.get(number)
    if ggml_type is None:
        raise window.error(f"{what}: unknown type: got {number}; expected a type of ggml.h.")
    row = shape[0] if shape else 1
    if row % ggml_type.block_elements:
        expected = f"a multiple of {ggml_type.block_elements} for {ggml_type.name}"
        raise window.error(f"{what}: row length: got {row}; expected {expected}.")
    return TensorInfo(
        name=name,
        shape=shape,
        type_name=ggml_type.name,
        n_bytes=math.prod(shape) // ggml_type.block_elements * ggml_type.block_bytes,
        offset=window.u64(what),
    )


def _round_up(offset: int, alignment: int) -> int:
    return -(-offset // alignment) * alignment
