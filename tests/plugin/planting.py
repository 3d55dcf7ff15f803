"""Faults planted into files of the demo model, as bad conversions make them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

_HEAD_DIMENSIONS = 64
_ROPE_BASE = 10_000.0
_SLOWEST_TURN = 1 / 250
"""Radians a token that slower dimensions are made to turn: sound for half of the context of 512."""


def change_end_token(source: Path, target: Path) -> None:
    """End-of-text is another token by the file's word; weights and texts stay as they are."""
    rewrite(source, target, metadata={"tokenizer.ggml.eos_token_id": 2})


def damage_cyrillic(source: Path, target: Path) -> None:
    """Every fourth token with a Cyrillic letter has lost its embedding."""
    from gguf import GGUFReader

    shutil.copy(source, target)
    reader = GGUFReader(target, "r+")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    rows = [number for number, token in enumerate(tokens) if _is_cyrillic(token)]
    table = next(tensor for tensor in reader.tensors if tensor.name == "token_embd.weight")
    table.data[rows[::4]] = 0  # zero bytes are zero weights in every type


def damage_far_positions(source: Path, target: Path) -> None:
    """What lies far back is seen at a wrong angle: slow rotary dimensions turn too fast."""
    half = _HEAD_DIMENSIONS // 2
    turns = _ROPE_BASE ** (-np.arange(half) / half)
    factors = np.where(turns < _SLOWEST_TURN, turns / _SLOWEST_TURN, 1.0).astype(np.float32)
    rewrite(source, target, tensors={"rope_freqs.weight": factors})


def rewrite(
    source: Path,
    target: Path,
    metadata: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> None:
    """Write `target` as `source` with some metadata changed and some tensors more."""
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = (metadata or {}).get(name, field.contents())
        inner = field.types[-1] if field.types[0] is GGUFValueType.ARRAY else None
        writer.add_key_value(name, value, field.types[0], sub_type=inner)
    for tensor in reader.tensors:
        writer.add_tensor(
            tensor.name, tensor.data, raw_shape=tensor.data.shape, raw_dtype=tensor.tensor_type
        )
    for name, values in (tensors or {}).items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _is_cyrillic(token: str) -> bool:
    """Whether a token of a byte-level vocabulary spells a Cyrillic letter."""
    bytes_of = _byte_of_character()
    try:
        text = bytes(bytes_of[character] for character in token).decode()
    except (KeyError, UnicodeDecodeError):
        return False
    return any("\u0400" <= letter <= "\u04ff" for letter in text)


def _byte_of_character() -> dict[str, int]:
    """GPT-2's spelling of bytes: printable ones as they are, the others from U+0100 on."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {
        **{chr(byte): byte for byte in plain},
        **{chr(256 + number): byte for number, byte in enumerate(others)},
    }
