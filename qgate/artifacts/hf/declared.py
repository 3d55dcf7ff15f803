"""Whether a model of the sizes that config.json declares can be in the files beside it.

Libraries make the whole model before they look at its weights: a billion layers are made one by
one. What is held here is no rule about models: every layer has a tensor of its own, no weight takes
less than a bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.safetensors import read_header
from qgate.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_WIDTHS = ("hidden_size", "n_embd", "d_model")
_BESIDE = ("vocab_size", "intermediate_size", "n_inner", "ffn_dim", "head_dim")
"""Some matrix has so many rows, or columns, of the width."""
_MOST_LEVELS = 8


def require_declared_fits(directory: Path, config: Mapping[str, Any]) -> None:
    """Refuse a config.json whose model cannot be in the safetensors files, if there are any.

    Raises:
        ArtifactError: it cannot, or a file cannot be read.
    """
    files = sorted(directory.glob("*.safetensors"))
    if not files:
        return  # which a library says in its own words
    tensors = [tensor for path in files for tensor in read_header(path).tensors]
    bits = 8 * sum(tensor.n_bytes for tensor in tensors)
    longest = max((size for tensor in tensors for size in tensor.shape), default=0)
    for part in _objects(config):
        _require(part, _LAYERS, len(tensors), f"the files' {len(tensors)} tensors")
        _require(part, _EXPERTS, max(len(tensors), longest), "any size in the files")
        width = max(_number(part, name) for name in _WIDTHS)
        for name in _BESIDE:
            if width * _number(part, name) > bits:
                raise ArtifactError(
                    f"config.json: {name}: got {_number(part, name)}, by a width of {width};"
                    f" expected a matrix that is in the files' {bits // 8} bytes"
                )
        _require(part, _WIDTHS, bits, f"the files' {bits} bits")


def _require(part: Mapping[str, Any], names: tuple[str, ...], most: int, what: str) -> None:
    for name in names:
        if _number(part, name) > most:
            raise ArtifactError(
                f"config.json: {name}: got {_number(part, name)}; expected no more than {what}"
            )


def _number(part: Mapping[str, Any], name: str) -> float:
    value = part.get(name)
    return value if isinstance(value, int | float) and value > 0 else 0  # NaN is no size


def _objects(value: object, levels: int = _MOST_LEVELS) -> Iterator[Mapping[str, Any]]:
    """An object and those in it: models of several parts have a configuration for each."""
    if isinstance(value, dict) and levels:
        yield value
        for inner in value.values():
            yield from _objects(inner, levels - 1)
