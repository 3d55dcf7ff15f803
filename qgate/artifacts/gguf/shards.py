"""The files of one GGUF model: `NAME-00001-of-00003.gguf` and its companions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.header import GgufHeader, read_header
from qgate.errors import ArtifactError
from qgate.untrusted.text import printable, quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_SHARD = re.compile(
    r"(?P<base>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<suffix>\.gguf)",
    re.IGNORECASE | re.DOTALL,
)


def stem(path: Path) -> str:
    """The file's name without `.gguf` and without what makes it a shard."""
    match = _SHARD.fullmatch(path.name)
    return match["base"] if match else path.name[: -len(".gguf")]


def siblings(path: Path) -> Iterator[Path]:
    """All files of the set that a file says it belongs to, present or not; itself if to none."""
    match = _SHARD.fullmatch(path.name)
    if match is None:
        yield path
        return
    for number in range(1, int(match["count"]) + 1):
        yield path.with_name(f"{match['base']}-{number:05}-of-{match['count']}{match['suffix']}")


def grouped(paths: Iterable[Path]) -> list[list[Path]]:
    """Present files, by the set they belong to, in the order of their first appearance."""
    groups: dict[tuple[Path, str, str], list[Path]] = {}
    for path in paths:
        match = _SHARD.fullmatch(path.name)
        count = match["count"] if match else path.name
        groups.setdefault((path.parent, stem(path), count), []).append(path)
    return list(groups.values())


def read_set(files: Sequence[Path]) -> tuple[GgufHeader, ...]:
    """Read the headers of one artifact's files and check that they are one whole set.

    Raises:
        ArtifactError: a shard is missing, damaged, out of order, or of another set.
    """
    present = set(files)
    for path in siblings(files[0]):
        if path not in present:
            missing = f"{printable(path.name)} is missing from the set of shards"
            raise ArtifactError(f"{printable(str(files[0]))}: {missing}. Download it again.")
    headers = tuple(read_header(path) for path in files)
    _check_split_keys(headers)
    _check_names(headers)
    return headers


def _check_split_keys(headers: Sequence[GgufHeader]) -> None:
    n_tensors = sum(len(header.tensors) for header in headers)
    architecture = headers[0].metadata.get("general.architecture")
    for index, header in enumerate(headers):
        expected = {"split.count": len(headers), "split.no": index}
        if "split.tensors.count" in header.metadata:
            expected["split.tensors.count"] = n_tensors
        if len(headers) == 1 and "split.count" not in header.metadata:
            expected = {}
        if "general.architecture" in header.metadata and architecture is not None:
            _expect(header, "general.architecture", architecture)
        for key, value in expected.items():
            _expect(header, key, value)


def _expect(header: GgufHeader, key: str, expected: object) -> None:
    got = header.metadata.get(key)
    if got != expected:
        shown = quoted(got) if isinstance(got, str) else got
        wrong = f"{key}: got {shown}; expected {expected} from its place in the set of shards"
        raise ArtifactError(f"{printable(str(header.path))}: {wrong}. Download the set again.")


def _check_names(headers: Sequence[GgufHeader]) -> None:
    seen: set[str] = set()
    for header in headers:
        for tensor in header.tensors:
            if tensor.name in seen:
                where = printable(str(header.path))
                raise ArtifactError(
                    f"{where}: tensor {quoted(tensor.name)} is in another shard too."
                )
            seen.add(tensor.name)
