"""GGUF files for tests, byte by byte: any count, type or length may be a lie."""

from __future__ import annotations

import struct


def text(content: str | bytes) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, type_number: int, payload: bytes) -> bytes:
    return text(name) + struct.pack("<I", type_number) + payload


def tensor(
    name: str | bytes = "w", dims: tuple[int, ...] = (4,), type_number: int = 0, offset: int = 0
) -> bytes:
    shape = struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
    return text(name) + shape + struct.pack("<IQ", type_number, offset)


def gguf(
    *,
    keys: tuple[bytes, ...] = (),
    tensors: tuple[bytes, ...] = (),
    data: bytes = b"",
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    n_tensors, n_keys = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", version, n_tensors, n_keys)
    head += b"".join(keys) + b"".join(tensors)
    return head + (bytes(-len(head) % 32) + data if tensors else b"")


ARCHITECTURE = key("general.architecture", 8, text("llama"))
SOUND = gguf(keys=(ARCHITECTURE,), tensors=(tensor(),), data=bytes(16))
