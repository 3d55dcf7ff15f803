"""The content identity of an artifact: equal exactly where its files' bytes are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import ArtifactError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from qgate.records import Artifact

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file: something changes when it is replaced or written to."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int

    def is_only_linked(self, later: Stamp) -> bool:
        """Whether all that happened is that the file got or lost another name.

        Hard links are how caches and backups copy; they change the ctime, as a write does.
        """
        same = dataclasses.replace(later, ctime_ns=self.ctime_ns, links=self.links)
        return same == self and later.links != self.links


def digest(artifact: Artifact) -> str:
    """`sha256:...` over the artifact's files.

    One file: its own SHA-256 (what sha256sum prints), whatever its name. Several: the SHA-256 of
    the list of (name relative to the directory, digest), so that order and names count.

    Raises:
        ArtifactError: a file cannot be read.
    """
    if len(artifact.files) == 1:
        return f"sha256:{_file_digest(artifact.files[0])}"
    root = artifact.path if artifact.format == "hf" else artifact.path.parent
    rows = [[str(path.relative_to(root)), _file_digest(path)] for path in artifact.files]
    return f"sha256:{hashlib.sha256(json.dumps(rows).encode()).hexdigest()}"


def stamp(artifact: Artifact) -> tuple[Stamp, ...]:
    """The stamps of the artifact's files; equal where nobody touched them in between.

    Raises:
        ArtifactError: a file cannot be looked at.
    """
    return tuple(_file_stamp(path) for path in artifact.files)


def _file_stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError as error:
        where = printable(str(path))
        raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    return Stamp(
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        links=found.st_nlink,
    )


def _file_digest(path: Path) -> str:
    sha = hashlib.sha256()
    with open_regular(path) as file:
        try:
            while block := file.read(_BLOCK_BYTES):
                sha.update(block)
        except OSError as error:
            where = printable(str(path))
            raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    return sha.hexdigest()


def name_entry(made_of: dict[str, Any]) -> str:
    """The name of the entry that is made of these: JSON values, digests of everything else."""
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:32]


def window_digests(windows: np.ndarray) -> list[str]:
    """Content digest of each window: what the samples of both sides are paired by."""
    return [hashlib.sha256(row.astype("<i4").tobytes()).hexdigest() for row in windows]
