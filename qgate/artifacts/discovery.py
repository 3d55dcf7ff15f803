"""From paths on a command line to artifacts: what is there, and what is it called?"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from typing import TYPE_CHECKING

from qgate.artifacts.gguf.artifact import artifacts_of, shards_beside
from qgate.artifacts.hf.directory import hf_artifact
from qgate.artifacts.walk import Found, walk
from qgate.errors import UsageError
from qgate.untrusted.text import listed, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from qgate.records import Artifact


def discover(paths: Sequence[Path], *, trusts_code: bool = False) -> tuple[Artifact, ...]:
    """Find every artifact at the given paths; only headers are read.

    What lies there but cannot be used is an artifact with a `problem`, never left out.

    Args:
        paths: files and directories.
        trusts_code: whether a model may bring code of its own, to be run when it is loaded.

    Raises:
        UsageError: a path does not exist, is of another kind, or holds no artifact.
    """
    if not paths:
        raise UsageError("--qgate: no path given.")
    found = [artifact for path in paths for artifact in _at(path, trusts_code=trusts_code)]
    once: dict[str, Artifact] = {}
    for artifact in found:
        once.setdefault(_place(artifact.path), artifact)
    return _with_unique_ids(list(once.values()))


def beside(paths: Sequence[Path], *, trusts_code: bool = False) -> tuple[Artifact, ...]:
    """Unquantized artifacts that lie next to the given paths: where a reference may be found.

    Directly in the directory that holds the file or directory, no deeper; a directory with too
    many entries to look through has none.
    """
    given = {_place(path) for path in paths}
    found: dict[str, Artifact] = {}
    for parent in dict.fromkeys(path.absolute().parent for path in paths):
        try:
            near = walk(parent, max_depth=1)
        except UsageError:
            continue
        near.ggufs = [path for path in near.ggufs if path.parent == parent]
        near.refused = {}
        for artifact in _made_of(near, parent, trusts_code=trusts_code)[0]:
            if not (artifact.is_quantized or artifact.problem):
                found.setdefault(_place(artifact.path), artifact)
    return _with_unique_ids([found[place] for place in found if place not in given])


def _place(path: Path) -> str:
    """Where a path really leads; unlike Path.resolve it stands loops of links."""
    return os.path.realpath(path)


def _at(path: Path, *, trusts_code: bool) -> list[Artifact]:
    where = f"--qgate: {printable(str(path))}"
    try:
        path.stat()
    except (OSError, ValueError) as error:
        if isinstance(error, FileNotFoundError):
            raise UsageError(f"{where} does not exist.") from None
        raise UsageError(f"{where} cannot be read: {getattr(error, 'strerror', error)}.") from None
    if path.is_dir():
        found = walk(path)
        artifacts, skipped = _made_of(found, path, trusts_code=trusts_code)
        n_files = found.n_files
    elif path.is_file() and path.suffix.lower() == ".gguf":
        artifacts, skipped = artifacts_of(*shards_beside(path))
        n_files = 1
    else:
        raise UsageError(f"{where} is neither a .gguf file nor a directory.")
    if not artifacts:
        files = "1 file" if n_files == 1 else f"{n_files} files"
        left_out = f" Left out: {listed(skipped)}." if skipped else ""
        looked = f"(looked for config.json and *.gguf, {files})"
        raise UsageError(f"{where} contains no artifact {looked}.{left_out}")
    return artifacts


def _made_of(found: Found, root: Path, *, trusts_code: bool) -> tuple[list[Artifact], list[str]]:
    directories = [
        hf_artifact(directory, root, trusts_code=trusts_code) for directory in found.hf_directories
    ]
    ggufs, skipped = artifacts_of(found.ggufs, found.refused)
    return sorted([*directories, *ggufs], key=lambda artifact: artifact.path), skipped


def _with_unique_ids(artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
    """Prefix the directories' names, one more at a time, where ids are the same."""
    ids = [artifact.id for artifact in artifacts]
    for depth in range(1, 1 + max((len(a.path.absolute().parts) for a in artifacts), default=0)):
        repeated = _repeated(ids)
        if not repeated:
            break
        ids = [
            f"{printable(_ancestor(artifact.path, depth))}/{id_}" if id_ in repeated else id_
            for artifact, id_ in zip(artifacts, ids, strict=True)
        ]
    repeated = _repeated(ids)
    numbered = [f"{id_}#{n}" if id_ in repeated else id_ for n, id_ in enumerate(ids, start=1)]
    return tuple(
        dataclasses.replace(artifact, id=id_)
        for artifact, id_ in zip(artifacts, numbered, strict=True)
    )


def _repeated(ids: Iterable[str]) -> set[str]:
    return {id_ for id_, count in Counter(ids).items() if count > 1}


def _ancestor(path: Path, depth: int) -> str:
    parents = path.absolute().parents
    return parents[min(depth, len(parents)) - 1].name
