"""Whether the files of a run's models stay the ones that discovery found.

A digest, a load and a look at the output matrix each open the files anew. What the file system says
of every file is taken before the first of these and compared after each: a result is believed only
where nobody replaced a file or wrote to it in between.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from qgate import artifacts, errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from qgate.records import Artifact


class FileIdentity:
    """The stamps and digests of models, by their files.

    Args:
        found: the models of the run, as discovery found them; what cannot be looked at is left to
            whoever opens it.
    """

    def __init__(self, found: Iterable[Artifact]) -> None:
        self._digests: dict[tuple[Path, ...], str] = {}
        self._stamps: dict[tuple[Path, ...], tuple[artifacts.Stamp, ...]] = {}
        for artifact in found:
            with contextlib.suppress(errors.ArtifactError):
                self._stamps[artifact.files] = artifacts.stamp(artifact)

    def digest(self, artifact: Artifact) -> str:
        """`sha256:...` over its files, read once a run.

        Raises:
            ArtifactError: a file cannot be read, or is not the one that was found.
        """
        files = artifact.files
        if files not in self._digests:
            before = artifacts.stamp(artifact)
            if not _are_same(self._stamps.setdefault(files, before), before):
                raise _changed(artifact)
            found = artifacts.digest(artifact)
            now = artifacts.stamp(artifact)
            if not _are_same(before, now):
                raise _changed(artifact)
            self._stamps[files], self._digests[files] = now, found
        return self._digests[files]

    def require_unchanged(self, artifact: Artifact, digest: str | None = None) -> None:
        """Refuse to believe that what was measured was measured of the files of the digest.

        Args:
            artifact: that was measured.
            digest: of its files, where another process took it.

        Raises:
            ArtifactError: a file was replaced or written to since it was found.
        """
        before, now = self._stamps.get(artifact.files, ()), artifacts.stamp(artifact)
        if before == now:
            return
        if _are_same(before, now, or_touched=False):  # something came or went beside them
            self._stamps[artifact.files] = now
            return
        known = digest or self._digests.get(artifact.files)
        # a new hard link changes the ctime as a write does, and whoever has other numbers may be
        # another file; the bytes tell
        if not _are_same(before, now) or known not in (None, artifacts.digest(artifact)):
            raise _changed(artifact)
        self._stamps[artifact.files] = now

    def is_known(self, artifact: Artifact) -> bool:
        """Whether its files could be looked at when they were found, or later."""
        return artifact.files in self._stamps


def _are_same(
    before: tuple[artifacts.Stamp, ...],
    now: tuple[artifacts.Stamp, ...],
    *,
    or_touched: bool = True,
) -> bool:
    return len(before) == len(now) and all(
        one.is_same(other)
        or (or_touched and (one.is_only_linked(other) or one.is_only_renumbered(other)))
        for one, other in zip(before, now, strict=True)
    )


def _changed(artifact: Artifact) -> errors.QGateError:
    changed = errors.ArtifactError(
        "its files changed while it was measured; expected the same files"
        " from the first row to the last. Run again when nobody writes to them"
    )
    return errors.with_subject(changed, artifact.id)
