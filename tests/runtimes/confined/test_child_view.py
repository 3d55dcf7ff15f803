"""What a runtime's child sees: all that it needs, and nothing of the user's."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.runtimes.confined import child_view
from qgate.runtimes.confined.child_view import Reach, environment_within, view_for
from qgate.runtimes.confined.interpreters import places_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "home"
    place.mkdir()
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("PYTHONUSERBASE", raising=False)
    return place


def virtual_environment(home: Path) -> tuple[Path, Path]:
    """An interpreter and its site-packages, made of another one in the same home."""
    base, place = home / "pythons" / "3.12", home / "project" / ".venv"
    site = place / "lib" / "python3.12" / "site-packages"
    for directory in (base / "bin", base / "lib" / "python3.12", place / "bin", site):
        directory.mkdir(parents=True)
    (base / "bin" / "python3.12").touch(mode=0o755)
    (place / "bin" / "python").symlink_to(base / "bin" / "python3.12")
    (place / "pyvenv.cfg").write_text(f"home = {base / 'bin'}\nversion = 3.12.1\n")
    return place / "bin" / "python", site


def test_an_interpreter_needs_its_environment_and_what_that_points_at(home: Path) -> None:
    python, site = virtual_environment(home)
    for name in ("linked", "runtime", "unlinked"):
        (home / name).mkdir()
    (site / "linked.pth").write_text(f"import sys\n{home / 'linked'}\n")
    (site / "runtime-1.0.dist-info").mkdir()
    url = {"dir_info": {"editable": True}, "url": (home / "runtime").as_uri()}
    (site / "runtime-1.0.dist-info" / "direct_url.json").write_text(json.dumps(url))

    found = set(places_of(str(python), {}))

    assert {site.parents[2], home / "pythons" / "3.12", home / "linked", home / "runtime"} <= found
    assert not {home, home / "unlinked", home / "project"} & found


def test_the_repository_of_a_linked_package_is_covered(home: Path) -> None:
    python, site = virtual_environment(home)
    (home / "runtime" / ".git").mkdir(parents=True)
    (site / "linked.pth").write_text(f"{home / 'runtime'}\n")

    view = view_for(str(python), {}, str(home), Reach(), is_root=False)

    assert str(home / "runtime") in view.read_only
    assert str(home / "runtime" / ".git") in view.memory


def test_packages_of_the_user_are_seen_and_the_rest_of_the_home_is_not(home: Path) -> None:
    python, _ = virtual_environment(home)
    packages = home / ".local" / "lib" / "python3.12" / "site-packages"
    packages.mkdir(parents=True)
    (home / ".ssh").mkdir()
    directory = home / "work"
    directory.mkdir()

    view = view_for(str(python), {"HOME": str(home)}, str(directory), Reach(), is_root=False)

    assert str(packages) in view.read_only
    assert view.writable == (str(directory),)
    assert not {str(home), str(home / ".ssh"), str(home / ".local")} & set(view.read_only)
    assert environment_within({}, str(directory))["PYTHONUSERBASE"] == str(home / ".local")


def test_what_the_environment_names_is_seen_but_for_homes_and_caches(
    home: Path, tmp_path: Path
) -> None:
    cuda, cache, model = tmp_path / "cuda", tmp_path / "cache", tmp_path / "models" / "a"
    for place in (cuda, cache, model):
        place.mkdir(parents=True)
    given = {
        "HOME": str(home),
        "LD_LIBRARY_PATH": f"{cuda}:/nowhere:",
        "CUDA_HOME": str(cuda),
        "TRITON_CACHE_DIR": str(cache),
        "XDG_CACHE_HOME": str(cache),
        "HF_HOME": str(cache),
        "PYTHONPATH": str(home),
        "TORCH_THING": str(tmp_path / "absent"),
        "TOKENIZERS_PARALLELISM": "false",
        "PATH": "/usr/bin",
    }

    view = view_for("/usr/bin/python3", given, str(tmp_path), Reach(reads=(model,)), is_root=False)
    within = environment_within(given, str(tmp_path))

    assert {str(cuda), str(model)} <= set(view.read_only)
    assert not {str(cache), str(home)} & set(view.read_only)
    kept = {name: given[name] for name in ("LD_LIBRARY_PATH", "CUDA_HOME", "PATH")}
    kept["TOKENIZERS_PARALLELISM"] = "false"
    moved = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    assert within == {**kept, **moved, "PYTHONUSERBASE": str(home / ".local")}


@pytest.mark.parametrize(
    "name", ["FLASHINFER_WORKSPACE_BASE", "TORCH_EXTENSIONS_DIR", "TRITON_DUMP_DIR"]
)
def test_folders_that_libraries_write_to_are_the_childs_own(tmp_path: Path, name: str) -> None:
    given = {name: str(tmp_path / "written")}
    (tmp_path / "written").mkdir()

    view = view_for("/usr/bin/python3", given, str(tmp_path / "w"), Reach(), is_root=False)

    assert str(tmp_path / "written") not in view.read_only
    assert name not in environment_within(given, str(tmp_path))


INTERFACES = {
    "GLOO_SOCKET_IFNAME": "eth0",
    "NCCL_SOCKET_IFNAME": "eth0",
    "VLLM_HOST_IP": "192.0.2.7",
}


def test_interfaces_that_a_child_does_not_have_are_not_named_to_it(tmp_path: Path) -> None:
    passed = {**INTERFACES, "QGATE_PASS_ENV": "VLLM_HOST_IP"}

    assert not INTERFACES.keys() & environment_within(INTERFACES, str(tmp_path)).keys()
    with_network = environment_within(INTERFACES, str(tmp_path), has_network=True)
    assert INTERFACES.items() <= with_network.items()
    kept = environment_within(passed, str(tmp_path))
    assert INTERFACES.keys() & kept.keys() == {"VLLM_HOST_IP"}


def test_values_that_begin_like_paths_are_kept_where_they_name_something(tmp_path: Path) -> None:
    gcc = tmp_path / "gcc" / "bin" / "gcc"
    gcc.parent.mkdir(parents=True)
    gcc.touch(mode=0o755)
    (tmp_path / "one.so").touch()
    (tmp_path / "two.so").touch()
    given = {
        "CC": f"{gcc} -m64",
        "CXX": "/absent/g++ -m64",
        "LD_PRELOAD": f"{tmp_path / 'one.so'} {tmp_path / 'two.so'}",
        "VLLM_PREFIX": "/v1",
        "OWN_PREFIX": "/v1",
        "QGATE_PASS_ENV": "OWN_PREFIX",
    }
    work = tmp_path / "work"
    work.mkdir()

    view = view_for("/usr/bin/python3", given, str(work), Reach(), is_root=False)
    within = environment_within(given, str(work))

    assert {str(tmp_path / "one.so"), str(tmp_path / "two.so")} <= set(view.read_only)
    assert str(tmp_path / "gcc") in view.read_only
    assert given.keys() & within.keys() == {"CC", "LD_PRELOAD", "OWN_PREFIX", "QGATE_PASS_ENV"}


def test_certificates_are_shown_to_whoever_has_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Red Hat's have them under /etc/pki, and settings of OpenSSL that name another directory."""
    asked: list[set[str]] = []
    reach = child_view.reach
    monkeypatch.setattr(
        child_view, "reach", lambda paths: asked.append({*map(str, paths)}) or reach(paths)
    )
    trusted = {"/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf", "/etc/crypto-policies"}

    for needs_network in (False, True):
        extra = Reach(needs_network=needs_network)
        view_for("/usr/bin/python3", {}, str(tmp_path), extra, is_root=False)
        assert any(trusted <= wanted for wanted in asked) == needs_network
