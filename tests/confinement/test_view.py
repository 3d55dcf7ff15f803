"""What has to be shown so that a path leads where it leads everywhere else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qgate.confinement.view import View, reach, trace, without_steps_up

if TYPE_CHECKING:
    import pytest


def test_a_path_is_traced_through_every_link_on_its_way(tmp_path: Path) -> None:
    real = tmp_path / "disk" / "models"
    real.mkdir(parents=True)
    (real / "a.gguf").touch()
    (tmp_path / "models").symlink_to("disk/models")
    (tmp_path / "current").symlink_to(tmp_path / "models")

    links, end = trace(tmp_path / "current" / "a.gguf")

    assert end == str(real / "a.gguf")
    assert links == {
        str(tmp_path / "current"): str(tmp_path / "models"),
        str(tmp_path / "models"): "disk/models",
    }


def test_links_that_go_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")

    links, _ = trace(tmp_path / "one")

    assert len(links) == 2


def test_steps_up_are_taken_by_the_file_system_and_links_behind_them_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "disk" / "project").mkdir(parents=True)
    (tmp_path / "disk" / "models").mkdir()
    (tmp_path / "link").symlink_to("disk/project")
    (tmp_path / "disk" / "models" / "latest").symlink_to("model-7")
    latest = tmp_path / "disk" / "models" / "latest"
    monkeypatch.chdir(tmp_path / "disk" / "project")

    assert without_steps_up("../models/latest") == latest
    assert without_steps_up(tmp_path / "link" / ".." / "models" / "latest") == latest
    assert without_steps_up(tmp_path / "link") == tmp_path / "link"
    assert without_steps_up("a") == Path("a").absolute()


def test_as_little_is_shown_as_leads_there(tmp_path: Path) -> None:
    """A cache of the hub: a directory of links, and their contents elsewhere."""
    snapshot, blobs = tmp_path / "snapshots" / "main", tmp_path / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").touch()
    (blobs / "of-another-model").touch()
    (snapshot / "config.json").touch()
    (snapshot / "model.safetensors").symlink_to("../../blobs/1")
    asked = [snapshot, *snapshot.iterdir(), tmp_path / "absent"]

    links, shown = reach(asked)

    assert shown == (str(blobs / "1"), str(snapshot))
    assert links == {}  # the link itself lies in what is shown


def test_what_lies_within_comes_after_what_lies_above() -> None:
    view = View(
        read_only=("/usr", "/tmp/models/a"),
        writable=("/tmp/models/a/work",),
        links={"/bin": "usr/bin"},
        memory={"/tmp": None},
        has_proc=True,
    )

    order = [place.path for place in view.places() if not place.path.startswith("/dev")]

    assert order == ["/bin", "/proc", "/tmp", "/tmp/models/a", "/tmp/models/a/work", "/usr"]
