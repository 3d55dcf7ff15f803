"""Faults planted in a GGUF file, each of which one edge case is there to see."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

ROPE_BASE, ROPE_PAIRS = 10000.0, 32
"""Of the demo model: heads of 64 dimensions, which turn in pairs."""


def move_end_token(source: Path, target: Path, token: int) -> None:
    """Declare another token to be the end of a text."""
    rewrite(source, target, values={"tokenizer.ggml.eos_token_id": token})


def turn_far_positions(source: Path, target: Path, slowest: float) -> None:
    """Have no pair of dimensions turn by less than `slowest` radians a token.

    Near tokens are told apart by the fast pairs, which stay. Beyond some 1 / `slowest` tokens the
    slow ones have turned too far: what lies there looks as if it lay elsewhere. Wrong factors for
    long contexts, which GGUF files carry in this very tensor, do the like.
    """
    theta = ROPE_BASE ** (-np.arange(ROPE_PAIRS) / ROPE_PAIRS)
    # llama.cpp divides each angle by its factor
    factors = np.minimum(1.0, theta / slowest).astype(np.float32)
    rewrite(source, target, tensors={"rope_freqs.weight": factors})


def zero_cyrillic(source: Path, target: Path, every: int) -> None:
    """Lose the embedding of every so many tokens that hold a Cyrillic letter."""
    from gguf import GGUFReader

    shutil.copyfile(source, target)
    reader = GGUFReader(target, "r+")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    cyrillic = [number for number, token in enumerate(tokens) if is_cyrillic(token)]
    (embedding,) = (one for one in reader.tensors if one.name == "token_embd.weight")
    embedding.data[cyrillic[::every]] = 0
    reader.data.flush()


def is_cyrillic(token: str) -> bool:
    """Whether a token of a byte-level vocabulary holds a whole Cyrillic letter."""
    raw = bytes(BYTES[letter] for letter in token if letter in BYTES)
    return any("\u0400" <= letter <= "\u04ff" for letter in raw.decode("utf-8", "ignore"))


def _byte_letters() -> dict[str, int]:
    """How GPT-2's vocabularies write bytes: printable ones as they are, the rest from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    known = {chr(byte): byte for byte in printable}
    return {**known, **{chr(256 + number): byte for number, byte in enumerate(others)}}


BYTES = _byte_letters()


def rewrite(
    source: Path,
    target: Path,
    *,
    values: Mapping[str, Any] | None = None,
    tensors: Mapping[str, np.ndarray] | None = None,
    is_reversed: bool = False,
    tensors_a_file: int = 0,
) -> None:
    """Write `target` as `source` with other values and further tensors.

    Args:
        source: a GGUF file.
        target: where to; with `tensors_a_file` its name becomes NAME-00001-of-0000N.gguf, ...
        values: of metadata that is there, by key.
        tensors: new ones.
        is_reversed: metadata and tensors come in the opposite order.
        tensors_a_file: the most of them in one file of a set; 0 writes one file.
    """
    from gguf import GGUFReader, GGUFValueType, GGUFWriter

    reader = GGUFReader(source)
    architecture, step = "general.architecture", -1 if is_reversed else 1
    name = reader.fields[architecture].contents()
    writer = GGUFWriter(target, name, split_max_tensors=tensors_a_file)
    for field in list(reader.fields.values())[::step]:
        if field.name.startswith("GGUF.") or field.name == architecture:
            continue
        kind: Sequence[Any] = field.types
        value = (values or {}).get(field.name, field.contents())
        inner = kind[-1] if kind[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, value, kind[0], sub_type=inner)
    for tensor in reader.tensors[::step]:
        shape = tensor.data.shape
        writer.add_tensor(tensor.name, tensor.data, raw_shape=shape, raw_dtype=tensor.tensor_type)
    for name, array in (tensors or {}).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
