"""The weights of a Hugging Face directory: one safetensors file, or shards and their index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qgate.artifacts.hf.safetensors import MAX_HEADER_BYTES, SafetensorsHeader, read_header
from qgate.errors import ArtifactError
from qgate.untrusted.json import read_object
from qgate.untrusted.text import listed, printable, quoted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def read_weights(directory: Path) -> tuple[SafetensorsHeader, ...]:
    """Read the headers of a model's files and check that they are one whole set.

    As transformers does: `model.safetensors` where it is there, else what the index names. Other
    safetensors files beside them are not the model's.

    Raises:
        ArtifactError: a file is missing or damaged, or not what the index says of it.
    """
    if _is_there(directory / SINGLE):
        return (read_header(directory / SINGLE),)
    index = directory / INDEX
    if not _is_there(index):
        found = listed(sorted(path.name for path in directory.glob("*.safetensors"))) or "none"
        expected = f"expected {SINGLE}, or shards and {INDEX}"
        raise ArtifactError(f"{printable(str(directory))}: weights: got {found}; {expected}.")
    weight_map = _weight_map(index)
    names = sorted(set(weight_map.values()))
    for name in names:
        if not _is_there(directory / name):
            missing = f"{printable(name)}, which the index names, is missing. Download it again."
            raise ArtifactError(f"{printable(str(index))}: {missing}")
    headers = tuple(read_header(directory / name) for name in names)
    _check_names(headers, weight_map, index)
    return headers


def _is_there(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _weight_map(index: Path) -> Mapping[str, str]:
    where = printable(str(index))
    content = read_object(index, most_bytes=MAX_HEADER_BYTES)
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ArtifactError(f"{where}: weight_map: expected names of tensors and their files.")
    for tensor, name in weight_map.items():
        if not _is_plain(name):
            got = quoted(name) if isinstance(name, str) else "no text"
            expected = "expected the name of a .safetensors file beside it"
            raise ArtifactError(f"{where}: file of {quoted(tensor)}: got {got}; {expected}.")
    return weight_map


def _is_plain(name: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a name stays in its directory, visible and so covered by the digest."""
    if not isinstance(name, str) or name.startswith(".") or len(name) > 255:
        return False
    return name.endswith(".safetensors") and name.isprintable() and not set(name) & set("/\\")


def _check_names(
    headers: Sequence[SafetensorsHeader], weight_map: Mapping[str, str], index: Path
) -> None:
    places: dict[str, str] = {}
    for header in headers:
        for tensor in header.tensors:
            if tensor.name in places:
                where, other = printable(str(header.path)), printable(places[tensor.name])
                raise ArtifactError(f"{where}: tensor {quoted(tensor.name)} is in {other} too.")
            places[tensor.name] = header.path.name
    for name, file in weight_map.items():
        if places.get(name) != file:
            is_in = f"in {printable(places[name])}" if name in places else "in no shard"
            where = f"{printable(str(index))}: tensor {quoted(name)}"
            raise ArtifactError(
                f"{where}: got it {is_in}; expected {printable(file)}. Download it again."
            )
