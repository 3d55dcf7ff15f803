"""Another model has a model's place for a moment, then it is back: nothing of it is believed."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import pytest

from qgate import artifacts
from qgate.artifacts import discover
from qgate.errors import ArtifactError
from qgate.gate.file_identity import FileIdentity
from tests.conftest import Toy, write_toy
from tests.support.safetensors_files import write_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.artifacts import Stamp
    from qgate.records import Artifact

TENSORS = {"lm_head.weight": ("BF16", (32, 8))}
CHANGED = "its files changed while it was measured"


def away_and_back(place: Path, other: Path) -> None:
    """As `mv` does it."""
    aside = place.with_name("aside")
    place.rename(aside)
    other.rename(place)
    place.rename(other)
    aside.rename(place)


def elsewhere_and_back(link: Path, other: Path) -> None:
    """As `ln -sfn` does it."""
    before = link.readlink()
    for target in (other, before):
        new = link.with_name("new")
        new.symlink_to(target)
        new.replace(link)


def a_file(place: Path) -> Artifact:
    """A GGUF file."""
    write_toy(place / "model.gguf", Toy(scheme="F32"))
    return discover([place / "model.gguf"])[0]


def a_linked_file(place: Path) -> Artifact:
    """A link to a link to a GGUF file."""
    write_toy(place / "real.gguf", Toy(scheme="F32"))
    (place / "current.gguf").symlink_to("real.gguf")
    (place / "model.gguf").symlink_to("current.gguf")
    return discover([place / "model.gguf"])[0]


def a_directory(place: Path) -> Artifact:
    """A model of Hugging Face's layout."""
    return discover([write_model(place / "model", TENSORS)])[0]


def a_linked_directory(place: Path) -> Artifact:
    """A link to such a one."""
    write_model(place / "version1", TENSORS)
    (place / "model").symlink_to("version1")
    return discover([place / "model"])[0]


def swap(make: Callable[[Path], Artifact], here: Path, there: Path) -> None:
    if make is a_linked_file:
        elsewhere_and_back(here / "current.gguf", there / "model.gguf")
    elif make is a_linked_directory:
        elsewhere_and_back(here / "model", there / "model")
    else:
        name = "model.gguf" if make is a_file else "model"
        away_and_back(here / name, there / name)


MAKERS = [a_file, a_linked_file, a_directory, a_linked_directory]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("when", ["before the digest", "after it"])
def test_who_had_its_place_for_a_moment_is_noticed(
    tmp_path: Path, make: Callable[[Path], Artifact], when: str
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    artifact = make(here)
    make(there)
    files = FileIdentity([artifact])
    if when == "after it":
        files.digest(artifact)
        files.require_unchanged(artifact)

    swap(make, here, there)

    with pytest.raises(ArtifactError, match=CHANGED):
        files.require_unchanged(artifact)
    if when == "before the digest":
        with pytest.raises(ArtifactError, match=CHANGED):
            files.digest(artifact)


@pytest.mark.parametrize("make", MAKERS)
def test_what_happens_beside_a_model_does_not_matter(
    tmp_path: Path, make: Callable[[Path], Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = make(tmp_path)
    files = FileIdentity([artifact])
    files.digest(artifact)
    monkeypatch.setattr("qgate.artifacts.digest", lambda _: pytest.fail("it was read again"))

    for directory in {tmp_path, artifact.files[0].parent}:
        (directory / "notes.txt").write_text("new")
        files.require_unchanged(artifact)
        (directory / "notes.txt").unlink()
        directory.chmod(0o700)
        files.require_unchanged(artifact)
    os.utime(artifact.files[0].parent)
    artifact.files[0].read_bytes()
    files.require_unchanged(artifact)


@pytest.fixture
def remount(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The file system gives everything new numbers."""
    stamp, mounted = artifacts.stamp, [0]

    def renumbered(artifact: Artifact) -> tuple[Stamp, ...]:
        more = mounted[0]
        return tuple(
            dataclasses.replace(one, device=one.device + more, inode=one.inode + more)
            for one in stamp(artifact)
        )

    def remount() -> None:
        mounted[0] += 1

    monkeypatch.setattr(artifacts, "stamp", renumbered)
    return remount


@pytest.mark.parametrize("make", MAKERS)
def test_a_file_system_that_was_mounted_anew_has_the_same_files(
    tmp_path: Path, make: Callable[[Path], Artifact], remount: Callable[[], None]
) -> None:
    artifact = make(tmp_path)
    files = FileIdentity([artifact])
    remount()
    digest = files.digest(artifact)

    remount()
    files.require_unchanged(artifact)

    assert files.digest(artifact) == digest


def test_other_bytes_by_the_same_facts_are_noticed_where_the_numbers_are_new(
    tmp_path: Path, remount: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = a_file(tmp_path)
    files = FileIdentity([artifact])
    files.digest(artifact)

    remount()
    monkeypatch.setattr(artifacts, "digest", lambda _: "sha256:of-another")

    with pytest.raises(ArtifactError, match=CHANGED):
        files.require_unchanged(artifact)


def test_a_file_of_the_same_size_and_time_in_its_place_is_noticed(tmp_path: Path) -> None:
    artifact = a_file(tmp_path)
    (path,) = artifact.files
    files = FileIdentity([artifact])
    other = path.with_name("other")
    other.write_bytes(path.read_bytes()[::-1])
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))

    other.replace(path)

    with pytest.raises(ArtifactError, match=CHANGED):
        files.require_unchanged(artifact)


def test_a_link_to_itself_has_no_stamp(tmp_path: Path) -> None:
    artifact = a_linked_file(tmp_path)
    (tmp_path / "current.gguf").unlink()
    (tmp_path / "current.gguf").symlink_to("model.gguf")

    assert not FileIdentity([artifact]).is_known(artifact)
