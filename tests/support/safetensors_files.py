"""safetensors files for tests, byte by byte: any length, offset or name may be a lie."""

from __future__ import annotations

import json
import math
import struct
from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.safetensors import DTYPE_BITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def n_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return math.prod(shape) * DTYPE_BITS[dtype] // 8


def raw(header: bytes | object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of a header, which may be any JSON or bytes, and of data."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8), **more: Any) -> Any:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets, **more}


def write(
    path: Path,
    tensors: Mapping[str, tuple[str, tuple[int, ...]]],
    *,
    data: Mapping[str, bytes] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a sound file; a tensor is (dtype, shape), its bytes counted up from 1 unless given."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    blobs, offset = [], 0
    for name, (dtype, shape) in tensors.items():
        size = n_bytes(dtype, shape)
        blob = (data or {}).get(name) or (bytes(range(1, 60)) * (size // 59 + 1))[:size]
        assert len(blob) == size
        header[name] = entry(dtype, list(shape), [offset, offset + size])
        offset += size
        blobs.append(blob)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw(header, b"".join(blobs)))
    return path


def write_model(
    directory: Path, tensors: Mapping[str, tuple[str, tuple[int, ...]]], **config: Any
) -> Path:
    """A directory of one such file and a config.json."""
    write(directory / "model.safetensors", tensors)
    (directory / "config.json").write_text(json.dumps(config))
    return directory
