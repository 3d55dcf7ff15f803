"""From GGUF files to artifacts: shards joined, sidecars left out, the scheme verbatim."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from qgate.artifacts.bits import of_gguf
from qgate.artifacts.gguf.shards import grouped, read_set, siblings, stem
from qgate.artifacts.gguf.types import FILE_TYPES, UNQUANTIZED
from qgate.artifacts.walk import refusal
from qgate.errors import ArtifactError
from qgate.records import Artifact
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from qgate.artifacts.gguf.header import GgufHeader, TensorInfo, Value

_SIDECAR_PREFIXES = ("mmproj-", "mtp-")
_SIDECAR_TYPES = frozenset({"adapter", "lora", "imatrix", "mmproj", "vocab", "clip-vision"})


def artifacts_of(
    paths: Iterable[Path], refused: Mapping[Path, str]
) -> tuple[list[Artifact], list[str]]:
    """Turn candidates into artifacts; with them, one phrase for each that is a sidecar."""
    artifacts, skipped = [], []
    for files in grouped(sorted([*paths, *refused])):
        reason = next((refused[path] for path in files if path in refused), None)
        made = _unusable(files, _refusal(files, reason)) if reason else _artifact(files)
        if isinstance(made, Artifact):
            artifacts.append(made)
        else:
            skipped.append(made)
    return artifacts, skipped


def shards_beside(path: Path) -> tuple[list[Path], dict[Path, str]]:
    """The set that a file belongs to, where the file alone was named: present and refused ones."""
    present, refused = [path], {}
    for sibling in siblings(path):
        if sibling == path or not (sibling.is_symlink() or sibling.exists()):
            continue
        reason = refusal(sibling, path.parent)
        if reason is None:
            present.append(sibling)
        else:
            refused[sibling] = reason
    return sorted(present), refused


def weights(tensors: Iterable[TensorInfo]) -> list[TensorInfo]:
    """The tensors that quantization is about."""
    return [tensor for tensor in tensors if tensor.is_matrix]


def is_quantized(tensors: Iterable[TensorInfo]) -> bool:
    return any(tensor.type_name not in UNQUANTIZED for tensor in weights(tensors))


def claimed_scheme(metadata: Mapping[str, Value]) -> str | None:
    """The name of `general.file_type`; None where it is absent or not a number llama.cpp knows."""
    number = metadata.get("general.file_type")
    return FILE_TYPES.get(number) if isinstance(number, int) else None


def bytes_by_type(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Bytes per tensor type, most first."""
    totals: Counter[str] = Counter()
    for tensor in tensors:
        totals[tensor.type_name] += tensor.n_bytes
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))


def _artifact(files: Sequence[Path]) -> Artifact | str:
    """One artifact, or the phrase that says why it is none."""
    name = printable(files[0].name)
    if files[0].name.lower().startswith(_SIDECAR_PREFIXES):
        return f"{name} is a sidecar"
    try:
        headers = read_set(files)
    except ArtifactError as error:
        return _unusable(files, str(error))
    metadata = headers[0].metadata
    kind, architecture = metadata.get("general.type"), metadata.get("general.architecture")
    if isinstance(kind, str) and kind.lower() in _SIDECAR_TYPES:
        return f"{name} is of type {printable(kind)}"
    if architecture == "clip":
        return f"{name} is a projector"
    tensors = [tensor for header in headers for tensor in header.tensors]
    if not tensors:
        return f"{name} holds a vocabulary and no tensors"
    if not isinstance(architecture, str):
        return _unusable(files, f"{printable(str(files[0]))}: general.architecture is missing.")
    return _usable(headers, tensors, architecture)


def _usable(
    headers: Sequence[GgufHeader], tensors: Sequence[TensorInfo], architecture: str
) -> Artifact:
    metadata = headers[0].metadata
    context_length = metadata.get(f"{architecture}.context_length")
    return Artifact(
        id=printable(stem(headers[0].path)),
        path=headers[0].path,
        format="gguf",
        scheme=claimed_scheme(metadata) or next(iter(bytes_by_type(weights(tensors) or tensors))),
        size_bytes=sum(header.file_bytes for header in headers),
        files=tuple(header.path for header in headers),
        is_quantized=is_quantized(tensors),
        context_length=_positive(context_length),
        bits=of_gguf(tensors),
    )


def _positive(value: Value | None) -> int | None:
    return value if type(value) is int and value > 0 else None


def _refusal(files: Sequence[Path], reason: str) -> str:
    return f"{printable(str(files[0]))}: {reason}."


def _unusable(files: Sequence[Path], problem: str) -> Artifact:
    """An artifact whose rows are errors; called quantized lest it be taken for a reference."""
    return Artifact(
        id=printable(stem(files[0])),
        path=files[0],
        format="gguf",
        scheme="unknown",
        size_bytes=sum(_size_bytes(path) for path in files),
        files=tuple(files),
        is_quantized=True,
        problem=problem,
    )


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0
