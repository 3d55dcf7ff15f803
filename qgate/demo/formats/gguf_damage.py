"""Damage one layer of a GGUF file, as a bad conversion would: the file loads, the model fails."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class DamageError(Exception):
    """There is no such layer, or it is stored in a way that cannot be damaged."""


def damage_layer(source: Path, target: Path, layer: int) -> str:
    """Write `target` as `source` with the feed-forward output of one layer set to zero.

    In every GGUF type, zero bytes are weights of zero, so F16 and quantized files can be
    damaged alike. Returns the name of the damaged tensor.

    Raises:
        DamageError: the file has no such layer.
    """
    from gguf import GGUFReader

    wanted = f"blk.{layer}.ffn_down.weight"
    tensors = {tensor.name: tensor for tensor in GGUFReader(source).tensors}
    if wanted not in tensors:
        layers = sum(name.endswith(".ffn_down.weight") for name in tensors)
        raise DamageError(f"{source}: no such layer: got {layer}; expected 0 to {layers - 1}.")
    offset, size = int(tensors[wanted].data_offset), int(tensors[wanted].n_bytes)
    shutil.copyfile(source, target)
    with target.open("r+b") as file:
        file.seek(offset)
        file.write(bytes(size))
    return wanted
