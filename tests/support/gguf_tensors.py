"""GGUF files for tests, with tensors of any type, shape and content."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.types import GGML_TYPES, TYPES_BY_NAME
from tests.support.gguf_bytes import text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NUMBERS = {ggml_type.name: number for number, ggml_type in GGML_TYPES.items()}


def n_bytes(type_name: str, shape: tuple[int, ...]) -> int:
    n_elements = 1
    for length in shape:
        n_elements *= length
    ggml_type = TYPES_BY_NAME[type_name]
    return n_elements // ggml_type.block_elements * ggml_type.block_bytes


def write(
    path: Path,
    tensors: list[tuple[str, str, tuple[int, ...]]],
    *,
    metadata: Mapping[str, str | int] | None = None,
    data: Mapping[str, bytes] | None = None,
) -> Path:
    """Write a GGUF file; a tensor is (name, type, shape), its data 1s unless given."""
    rows = []
    for key, value in {"general.architecture": "llama", **(metadata or {})}.items():
        kind = struct.pack("<I", 8) + text(value) if isinstance(value, str) else None
        rows.append(text(key) + (kind or struct.pack("<II", 4, int(value))))
    infos, blobs, offset = [], [], 0
    for name, type_name, shape in tensors:
        raw = (data or {}).get(name, b"\x01" * n_bytes(type_name, shape))
        raw += bytes(-len(raw) % 32)
        dims = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
        infos.append(text(name) + dims + struct.pack("<IQ", NUMBERS[type_name], offset))
        blobs.append(raw)
        offset += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(rows)) + b"".join(rows + infos)
    path.write_bytes(head + bytes(-len(head) % 32) + b"".join(blobs))
    return path


def layers(**types: int) -> list[tuple[str, str, tuple[int, ...]]]:
    """So many matrices of 256 x 4 of each type, and a norm."""
    names = [name for name, count in types.items() for _ in range(count)]
    matrices: list[tuple[str, str, tuple[int, ...]]] = [
        (f"blk.{index}.w", name, (256, 4)) for index, name in enumerate(names)
    ]
    return [*matrices, ("output_norm.weight", "F32", (256,))]
