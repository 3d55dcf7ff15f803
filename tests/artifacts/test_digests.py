"""What happened to a file since its digest was taken: a new name is no new content."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qgate.artifacts import stamp
from qgate.records import Artifact

if TYPE_CHECKING:
    from pathlib import Path


def artifact_at(path: Path) -> Artifact:
    return Artifact(
        id="model",
        path=path,
        format="gguf",
        scheme="F16",
        size_bytes=5,
        files=(path,),
        is_quantized=False,
    )


def test_a_hard_link_changes_no_file_and_a_write_does(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"bytes")
    before, *_ = stamp(artifact_at(path))

    os.link(path, tmp_path / "backup.gguf")
    linked, *_ = stamp(artifact_at(path))
    path.write_bytes(b"other")
    os.utime(path, ns=(0, before.mtime_ns + 1))
    written, *_ = stamp(artifact_at(path))

    assert linked != before
    assert before.is_only_linked(linked)
    assert not before.is_only_linked(written)
    assert not before.is_only_linked(before)
