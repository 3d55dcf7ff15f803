"""Small models for tests to discover: GGUF files, shards, Hugging Face directories."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from tests.support.gguf_bytes import text

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.records import Artifact

F32, F16, Q8_0, BF16 = 0, 1, 8, 30
SIZES = {F32: (1, 4), F16: (1, 2), Q8_0: (32, 34), BF16: (1, 2)}


def gguf(
    path: Path,
    *,
    file_type: int | None = 7,
    tensor_type: int = Q8_0,
    tensors: tuple[str, ...] = ("blk.0.ffn_up.weight",),
    **metadata: str | int,
) -> Path:
    """Write a file with matrices of 32 x 4 and metadata; `general_type` is `general.type`."""
    values = {"general_architecture": "llama", "general_file_type": file_type, **metadata}
    rows = []
    for name, value in values.items():
        key = text(name.replace("_", ".", 1))
        if isinstance(value, str):
            rows.append(key + struct.pack("<I", 8) + text(value))
        elif value is not None:
            rows.append(key + struct.pack("<II", 4, value))
    elements, size = SIZES[tensor_type]
    n_bytes = 32 * 4 // elements * size
    padded = -(-n_bytes // 32) * 32
    infos = [
        text(name) + struct.pack("<IQQIQ", 2, 32, 4, tensor_type, index * padded)
        for index, name in enumerate(tensors)
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(rows)) + b"".join(rows + infos)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + bytes(-len(head) % 32) + bytes(padded * len(tensors)))
    return path


def shard(path: Path, number: int, count: int, **changes: int) -> Path:
    split = {"split_no": number - 1, "split_count": count, "split_tensors.count": count}
    name = path.with_name(f"{path.name}-{number:05}-of-{count:05}.gguf")
    return gguf(name, tensors=(f"blk.{number}.ffn_up.weight",), **{**split, **changes})


def hf(directory: Path, weights: str = "model.safetensors", **config: Any) -> Path:
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps(config))
    if weights:
        (directory / weights).write_bytes(b"12345678")
    return directory


def ids(artifacts: tuple[Artifact, ...]) -> list[str]:
    return [artifact.id for artifact in artifacts]
