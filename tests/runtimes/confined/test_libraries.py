"""What the linker and PATH lead to is shown, and homes are not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from qgate.runtimes.confined.child_view import Reach, view_for
from qgate.runtimes.confined.libraries import library_places, program_places

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


def compiler(prefix: Path, name: str = "gcc") -> Path:
    """As a module system installs one: it starts what lies in libexec."""
    (prefix / "libexec").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / name).touch(mode=0o755)
    return prefix / "bin"


def test_directories_of_the_linker_are_read_from_its_configuration(tmp_path: Path) -> None:
    (tmp_path / "ld.so.conf.d").mkdir()
    (tmp_path / "ld.so.conf").write_text("include ld.so.conf.d/*.conf\n/opt/own\n")
    (tmp_path / "ld.so.conf.d" / "cuda.conf").write_text("# CUDA\n/opt/cuda/lib64 # its own\n")
    (tmp_path / "ld.so.conf.d" / "notes.txt").write_text("/opt/unread\n")

    found = [str(place) for place in library_places(tmp_path)]

    assert found == ["/opt/own", "/opt/cuda/lib64"]
    assert list(library_places(tmp_path / "absent")) == []


def test_a_compiler_on_path_is_shown_whole_and_other_programs_by_their_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    module, ninja = compiler(tmp_path / "gcc" / "12"), tmp_path / "ninja" / "bin"
    ninja.mkdir(parents=True)
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "cc").symlink_to(compiler(tmp_path / "gcc" / "13") / "gcc")
    path = f"{module}:{ninja}:{tmp_path / 'modules'}:relative:"
    work = tmp_path / "work"
    work.mkdir()

    view = view_for("/usr/bin/python3", {"PATH": path}, str(work), Reach(), is_root=False)

    shown = {module.parent, ninja, tmp_path / "modules", tmp_path / "gcc" / "13"}
    assert {str(place) for place in shown} <= set(view.read_only)
    assert str(ninja.parent) not in view.read_only


def test_programs_of_a_home_are_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What lies beside ~/.local/bin and ~/.cargo/bin are keys."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    own, linked = compiler(home / ".local"), tmp_path / "linked"
    linked.mkdir()
    (linked / "gcc").symlink_to(own / "gcc")

    assert list(program_places({"PATH": f"{own}:/root/.cargo/bin:{linked}"})) == [linked]
