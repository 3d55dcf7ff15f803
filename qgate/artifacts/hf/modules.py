"""Tensors of a checkpoint by the module that they make up together, and which modules are skipped.

Names: of GPTQ and AWQ `m.qweight`, of bitsandbytes `m.weight.absmax`, of torchao `m._weight_qdata`
(how transformers writes tensor subclasses), of gpt-oss `m_blocks`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgate.artifacts.hf.safetensors import UNQUANTIZED_DTYPES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from qgate.artifacts.hf.safetensors import SafetensorsHeader, StoredTensor

_JOINED = re.compile(r"(.+)_(blocks|scales)")
_NOT_LINEAR = frozenset(
    {
        *("embed_tokens", "tok_embeddings", "word_embeddings", "embed_in", "wte", "wpe"),
        *("lm_head", "embed_out", "output_projection", "score", "gate", "router"),
    }
)
"""Last names of modules that methods leave alone: embeddings, output matrices, routers."""
_PLAIN_PATTERN = re.compile(r"(?:[\w\-]|\\?\.|\*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """The tensors of one module, by what follows its name."""

    name: str
    parts: Mapping[str, StoredTensor]

    @property
    def n_bytes(self) -> int:
        return sum(tensor.n_bytes for tensor in self.parts.values())

    @property
    def plain_weight(self) -> StoredTensor | None:
        """Its weight matrix, where that is stored unquantized."""
        weight = self.parts.get("weight")
        if weight is None or not weight.is_matrix or weight.dtype not in UNQUANTIZED_DTYPES:
            return None
        return weight

    @property
    def is_linear(self) -> bool:
        return not set(self.name.split(".")[-1:]) & _NOT_LINEAR


def modules_of(headers: Iterable[SafetensorsHeader]) -> tuple[Module, ...]:
    """All modules, in the order of their names."""
    parts: dict[str, dict[str, StoredTensor]] = {}
    for header in headers:
        for tensor in header.tensors:
            name, part = _split(tensor.name)
            parts.setdefault(name, {})[part] = tensor
    return tuple(Module(name=name, parts=parts[name]) for name in sorted(parts))


def _split(name: str) -> tuple[str, str]:
    if ".weight." in name:
        stem, _, rest = name.partition(".weight.")
        return stem, f"weight.{rest}"
    stem, _, last = name.rpartition(".")
    joined = _JOINED.fullmatch(last)
    if joined and not last.startswith("_weight"):
        return f"{stem}.{joined[1]}", joined[2]
    return stem, last


def is_skipped(name: str, patterns: Sequence[object]) -> bool:
    """Whether a list of modules not to convert names this one.

    A name matches itself, what lies below it, and what ends in it; `re:` begins a regular
    expression, of which literal text and `.*` are understood, as no others are safe to run.
    """
    return any(isinstance(pattern, str) and _matches(name, pattern) for pattern in patterns)


def _matches(name: str, pattern: str) -> bool:
    if not pattern:
        return False
    if pattern.startswith("re:"):
        return _matches_simply(name, pattern.removeprefix("re:"))
    dotted = f".{name}."
    return f".{pattern.strip('.')}." in dotted


def _matches_simply(name: str, pattern: str) -> bool:
    """As re.match, in linear time, for literal text and `.*`."""
    ends = pattern.endswith("$")
    pattern = pattern.removeprefix("^").removesuffix("$")
    if not _PLAIN_PATTERN.fullmatch(pattern) or "*" in pattern.replace(".*", ""):
        return False
    first, *rest = (piece.replace("\\", "") for piece in pattern.split(".*"))
    if not name.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        found = name.find(piece, at)
        if found < 0:
            return False
        at = found + len(piece)
    if not rest:
        return not ends or at == len(name)
    last = rest[-1]
    return name.endswith(last) and len(name) - len(last) >= at if ends else last in name[at:]
