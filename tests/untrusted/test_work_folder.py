"""Folders of one process: there while it lives, however old; swept once it is gone, however new."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qgate.untrusted.work_folder import WorkFolder, sweep, sweep_temporary

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


@pytest.mark.parametrize("prefix", ["qgate-child-", "qgate-template-", "qgate-store-"])
def test_of_temporary_folders_those_of_the_dead_are_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "qgate-child-notes").mkdir()  # somebody's own
    (tmp_path / "other-child-abcdefgh").mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, prefix],
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


def test_no_link_and_no_file_of_such_a_name_is_touched(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("kept")
    (tmp_path / ".work-link").symlink_to(tmp_path / "kept")
    (tmp_path / ".work-file").write_text("kept")

    sweep(tmp_path, ANY)

    assert {path.name for path in tmp_path.iterdir()} == {"kept", ".work-link", ".work-file"}
    assert (tmp_path / "kept" / "file").read_text() == "kept"


def test_what_another_user_left_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = tmp_path / ".work-1"
    left.mkdir()
    owner = left.stat().st_uid

    with monkeypatch.context() as patch:
        patch.setattr("os.geteuid", lambda: owner + 1)
        sweep(tmp_path, ANY)
    assert left.is_dir()

    sweep(tmp_path, ANY)
    assert not left.exists()
