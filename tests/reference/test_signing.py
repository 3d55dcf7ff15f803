"""The key that entries are signed with: the user's own, outside of checkouts, and nobody else's."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qgate.errors import UsageError
from qgate.reference.signing import find_key
from qgate.runtimes.environment import child_environment

SECRET = "of the team: 0123456789abcdef0123"


def at(home: Path) -> Path:
    return home / "qgate" / "store.key"


def own(home: Path) -> dict[str, str]:
    return {"XDG_DATA_HOME": str(home)}


def test_a_key_is_made_at_first_use_and_is_the_user_s_alone(tmp_path: Path) -> None:
    first, second = find_key(own(tmp_path)), find_key(own(tmp_path))

    assert first == second
    assert first.problem == ""
    assert len(first.secret) == 64
    assert stat.S_IMODE(at(tmp_path).stat().st_mode) == 0o600
    assert [path.name for path in at(tmp_path).parent.iterdir()] == ["store.key"]
    assert find_key(own(tmp_path / "another")).secret != first.secret


def test_many_that_make_it_at_once_have_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: find_key(own(tmp_path)).secret, range(8)))

    assert len(found) == 1


def test_without_a_data_directory_it_lies_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    key = find_key({"XDG_DATA_HOME": "relative/means/nothing"})

    assert (tmp_path / ".local/share/qgate/store.key").read_bytes() == key.secret


def test_a_team_s_key_comes_from_the_environment_and_makes_no_file(tmp_path: Path) -> None:
    key = find_key({**own(tmp_path), "QGATE_STORE_KEY": SECRET})

    assert key.secret == SECRET.encode()
    assert list(tmp_path.iterdir()) == []
    assert SECRET not in repr(key)


def test_a_short_key_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError) as caught:
        find_key({"QGATE_STORE_KEY": "hunter2"})

    assert str(caught.value) == (
        "QGATE_STORE_KEY: got 7 bytes; expected at least 32. Make one with: openssl rand -hex 32"
    )


def test_no_child_gets_it() -> None:
    passed = child_environment({"QGATE_STORE_KEY": SECRET, "QGATE_STORE": "kept", "PATH": "/bin"})

    assert "QGATE_STORE_KEY" not in passed
    assert SECRET not in passed.values()
    assert passed["QGATE_STORE"] == "kept"


@pytest.mark.parametrize("fault", ["readable", "linked", "empty", "a pipe", "no directory"])
def test_what_is_no_key_of_this_user_s_alone_is_not_used(tmp_path: Path, fault: str) -> None:
    secret = find_key(own(tmp_path)).secret
    path = at(tmp_path)
    if fault == "readable":
        path.chmod(0o644)
    elif fault == "linked":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    elif fault == "empty":
        path.write_bytes(b"")
    elif fault == "a pipe":
        path.unlink()
        os.mkfifo(path, 0o600)
    else:
        path.unlink()
        path.parent.rmdir()
        path.parent.write_text("a file")

    first, second = find_key(own(tmp_path)), find_key(own(tmp_path))

    assert first.problem
    assert str(path.parent) in first.problem
    assert len({secret, first.secret, second.secret}) == 3


def test_a_key_of_another_owner_is_told_by_both_numbers_and_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "a home"
    secret = find_key(own(home)).secret
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 7)

    key = find_key(own(home))

    owner, user = os.getuid(), os.getuid() + 7
    assert key.problem == (
        f"{at(home)}: got a file of uid {owner}; expected one of uid {user}, who runs this. For a"
        f" key of your own type: export XDG_DATA_HOME='{home}/uid-{user}'"
    )
    assert key.secret != secret


def test_where_there_is_no_home_it_goes_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", nobody)

    key = find_key({})

    assert key.problem == "Could not determine home directory."
    assert len(key.secret) == 64
