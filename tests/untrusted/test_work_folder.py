"""Folders of one process: there while it lives, however old; swept once it is gone, however new."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.errors import MeasurementError
from qgate.untrusted.work_folder import WorkFolder, sweep, sweep_temporary, temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

ANY = re.compile(r"\.work-.*")
_HOLDER = """
import sys
from pathlib import Path
from qgate.untrusted.work_folder import WorkFolder
folder = WorkFolder(sys.argv[1])
(folder.path / "file").write_text("kept")
print(folder.path, flush=True)
sys.stdin.read()
"""


def test_a_folder_is_empty_and_goes_with_what_lies_in_it(tmp_path: Path) -> None:
    with WorkFolder(".work-", tmp_path) as path:
        assert list(path.iterdir()) == []
        (path / "below").mkdir()
        (path / "below" / "file").write_text("x")

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_forgotten_goes(tmp_path: Path) -> None:
    folder = WorkFolder(".work-", tmp_path)
    assert len(list(tmp_path.iterdir())) == 1

    del folder

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["child", "template", "store", "upload"])
def test_of_temporary_folders_those_of_the_dead_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "qgate-child-notes").mkdir()  # somebody's own
    (tmp_path / "other-child-abcdefgh").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, f"qgate-{name}-"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        path = Path(holder.stdout.readline().rstrip("\n"))
        os.utime(path, (1, 1))
        sweep_temporary()
        assert (path / "file").read_text() == "kept"
        holder.kill()

    sweep_temporary()

    assert {left.name for left in tmp_path.iterdir()} == {
        "qgate-child-notes",
        "other-child-abcdefgh",
    }


def leave(directory: Path) -> Path:
    """What a killed run of this machine left."""
    folder = WorkFolder(".work-", directory)
    folder.close()
    folder.path.mkdir()
    return folder.path


@pytest.mark.parametrize("name", ["of another", "of none"])
def test_what_another_machine_may_work_in_is_swept_once_it_is_old(
    tmp_path: Path, name: str
) -> None:
    """NFS: there a lock that is held on another machine looks free."""
    ours = leave(tmp_path)
    theirs = tmp_path / (".work-0123abcd-abcdefgh" if name == "of another" else ".work-abcdefgh")
    theirs.mkdir()

    sweep(tmp_path, ANY)
    assert list(tmp_path.iterdir()) == [theirs]
    assert not ours.exists()

    a_day_ago = time.time() - 25 * 3600
    os.utime(theirs, (a_day_ago, a_day_ago))
    with theirs_is_held(theirs):
        sweep(tmp_path, ANY)
        assert theirs.is_dir()
    sweep(tmp_path, ANY)
    assert not theirs.exists()


@contextlib.contextmanager
def theirs_is_held(folder: Path) -> Iterator[None]:
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def test_where_there_are_no_locks_only_what_is_old_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    new, old = WorkFolder(".work-", tmp_path), leave(tmp_path)
    os.utime(old, (1, 1))

    sweep(tmp_path, ANY)

    assert list(tmp_path.iterdir()) == [new.path]
    new.close()


def test_a_full_temporary_directory_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(MeasurementError) as caught:
        temporary_folder("qgate-template-", "chat template")

    assert str(caught.value) == (
        f"chat template: got no room in {tmp_path / 'nowhere'} (No such file or directory);"
        " expected room for a few files. Free some space, or name another directory with TMPDIR"
    )


def test_no_link_and_no_file_of_such_a_name_is_touched(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / ".work-link").symlink_to(tmp_path / "kept")
    (tmp_path / ".work-file").write_text("kept")

    sweep(tmp_path, ANY)

    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".work-link", ".work-file"}
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = leave(tmp_path)
    owner = left.stat().st_uid

    with monkeypatch.context() as patch:
        patch.setattr("os.geteuid", lambda: owner + 1)
        sweep(tmp_path, ANY)
    assert left.is_dir()

    sweep(tmp_path, ANY)
    assert not left.exists()
