"""Damage one layer of an artifact, as a faulty tool would: it loads, and the model fails.

Counterpart of `qgate.demo.formats.gguf_damage`, which does the same to GGUF files.
"""

from __future__ import annotations

import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.artifacts.hf.safetensors import StoredTensor, read_header
from qgate.demo.formats.directories import WEIGHTS
from qgate.demo.formats.recipes import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qgate.demo.formats.recipes import Damage

LAYER = 1
FACTOR = 4
_WORDS: Mapping[str, str] = MappingProxyType({"F16": "<f2", "F32": "<f4"})


def damage(sound: Path, target: Path, how: Damage) -> list[str]:
    """Write `target`, a copy of the directory `sound` with one layer damaged.

    Returns the names of the tensors that differ.

    Raises:
        FormatError: the artifact is not stored as the recipe says.
    """
    shutil.copytree(sound, target)
    path = target / WEIGHTS
    wanted = [
        tensor
        for tensor in read_header(path).tensors
        if f".layers.{LAYER}." in tensor.name and tensor.name.endswith(how.tensors)
    ]
    if not wanted:
        raise FormatError(f"{sound}: no tensor of layer {LAYER} ends with {how.tensors!r}")
    with path.open("r+b") as file:
        for tensor in wanted:
            file.seek(tensor.offset)
            data = _damaged(file.read(tensor.n_bytes), tensor, how)
            file.seek(tensor.offset)
            file.write(data)
    return [tensor.name for tensor in wanted]


def _damaged(data: bytes, tensor: StoredTensor, how: Damage) -> bytes:
    if how.how == "zero":
        return bytes(len(data))
    if how.how == "roll":
        half = tensor.shape[0] // 2 * (len(data) // tensor.shape[0])
        return data[half:] + data[:half]
    return _scaled(data, tensor, how.axis)


def _scaled(data: bytes, tensor: StoredTensor, axis: int) -> bytes:
    import numpy as np

    if tensor.dtype not in _WORDS:
        raise FormatError(f"{tensor.name}: got {tensor.dtype}; expected {' or '.join(_WORDS)}")
    scales = np.frombuffer(data, dtype=_WORDS[tensor.dtype]).reshape(tensor.shape).copy()
    every_second = [slice(None)] * scales.ndim
    every_second[axis] = slice(1, None, 2)
    scales[tuple(every_second)] *= FACTOR
    return scales.tobytes()
