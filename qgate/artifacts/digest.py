"""The content identity of an artifact: equal exactly where its files' bytes are."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgate.errors import ArtifactError
from qgate.untrusted.files import open_regular
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from qgate.records import Artifact

_BLOCK_BYTES = 1 << 20
_MOST_LINKS = 40
"""As many as Linux follows."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file: something changes when it is replaced or written to.

    Also of a link by which a file is reached, and of a directory above one.
    """

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    links: int
    above_ns: int | None = None
    """Of a directory alone: the mtime of the one that it lies in."""

    def is_same(self, later: Stamp) -> bool:
        """Whether nobody replaced it or wrote to it; a directory: whether nobody renamed it.

        A new name of a directory changes its ctime, not its mtime, and the mtime of the directory
        that it lies in. What comes and goes in it changes both of its own.
        """
        if self.above_ns is None or later.above_ns is None:
            return self == later
        is_touched = self.ctime_ns != later.ctime_ns and self.mtime_ns == later.mtime_ns
        return not (is_touched and self.above_ns != later.above_ns)

    def is_only_linked(self, later: Stamp) -> bool:
        """Whether all that happened is that the file got or lost another name.

        Hard links are how caches and backups copy; they change the ctime, as a write does.
        """
        same = dataclasses.replace(later, ctime_ns=self.ctime_ns, links=self.links)
        return same == self and later.links != self.links

    def is_only_renumbered(self, later: Stamp) -> bool:
        """Whether only the file system's numbers for it are others.

        They are where it was mounted anew meanwhile, as automounters do, and in some file systems
        whenever a file is looked at again. A file that takes another's place has another ctime.
        """
        return dataclasses.replace(later, device=self.device, inode=self.inode) == self


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
    """The stamps of the artifact's files, of links on the way to them, and of their directories.

    A file that was moved away and back has another ctime. Where a link led to another file for a
    while, or another directory had the name, the file has not: then link or directory shows it.

    Raises:
        ArtifactError: a file cannot be looked at.
    """
    files, links, directories = dict[Path, Stamp](), dict[Path, Stamp](), dict[Path, Stamp]()
    for path in artifact.files:
        try:
            files[path] = _stamp(path.stat())
            links |= {link: _stamp(link.lstat()) for link in _links(path)}
            for directory in (path.parent, path.resolve().parent):
                above_ns = (directory / "..").stat().st_mtime_ns
                directories[directory] = _stamp(directory.stat(), above_ns)
        except OSError as error:
            where = printable(str(path))
            raise ArtifactError(f"{where}: cannot be read: {error.strerror or error}.") from error
    return (*files.values(), *links.values(), *directories.values())


def _links(path: Path) -> Iterator[Path]:
    """The links that are followed, one after the other, where the path is opened."""
    at, left = Path("/"), [*reversed(path.absolute().parts[1:])]
    followed = 0
    while left:
        part = left.pop()
        at = at.parent if part == ".." else at / part
        if at.is_symlink():
            yield at
            followed += 1
            if followed > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = at.readlink()
            at = Path("/") if target.is_absolute() else at.parent
            left += reversed(target.parts[target.is_absolute() :])


def _stamp(found: os.stat_result, above_ns: int | None = None) -> Stamp:
    return Stamp(
        device=found.st_dev,
        inode=found.st_ino,
        size=found.st_size,
        mtime_ns=found.st_mtime_ns,
        ctime_ns=found.st_ctime_ns,
        links=found.st_nlink,
        above_ns=above_ns,
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
