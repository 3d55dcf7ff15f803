"""From a file to YAML: one that is missing, huge, a bomb or not UTF-8, and its name in errors."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.thresholds import load_thresholds
from tests.thresholds.team_files import load

if TYPE_CHECKING:
    from pathlib import Path


def test_bytes_that_are_not_utf8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = tmp_path / "team.yaml"
    path.write_bytes(b"version: 1\n# caf\xe9\n")
    with pytest.raises(
        ThresholdsError, match=r"^team\.yaml:2: got byte 0xe9; expected UTF-8 text\.$"
    ):
        load_thresholds(path, tmp_path)


def test_byte_order_mark_of_an_editor_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, "\ufeffversion: 1\n").files[-1].shown == "team.yaml"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.yaml", "gone.yaml: no such thresholds file. Name a YAML file."),
        (".", ".: is not a file. Name a YAML file."),
    ],
)
def test_missing_file_and_directory_are_refused(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load_thresholds(tmp_path / name, tmp_path)
    assert str(refusal.value) == message


def test_huge_file_is_refused_unparsed(tmp_path: Path) -> None:
    started = time.process_time()
    with pytest.raises(
        ThresholdsError,
        match=r"^team\.yaml:1: got more than 1000000 bytes; expected a short file\.$",
    ):
        load(tmp_path, "version: 1\n" + "#" * 1_000_000)
    assert time.process_time() - started < 1


def test_alias_bomb_is_refused_before_it_explodes(tmp_path: Path) -> None:
    lines = ["version: 1", "a0: &a0 [x, x]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    with pytest.raises(ThresholdsError, match=r"^team\.yaml:2: got an anchor or alias;"):
        load(tmp_path, "\n".join(lines))


def test_file_outside_the_root_is_shown_as_it_was_named(tmp_path: Path) -> None:
    (tmp_path / "team.yaml").write_text("version: 2\n")
    (tmp_path / "root").mkdir()
    with pytest.raises(ThresholdsError) as refusal:
        load_thresholds(tmp_path / "team.yaml", tmp_path / "root")
    assert str(refusal.value) == f"{tmp_path.as_posix()}/team.yaml:1: version: got '2'; expected 1."
