"""Why a child is not confined, and what would change that: for `require` the remedy that fits."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import UsageError
from qgate.runtimes.confined import choice
from qgate.runtimes.confined.choice import decide

if TYPE_CHECKING:
    from pathlib import Path

INSTALL, ALLOW = "Install bubblewrap (apt-get", "llow user namespaces (on Ubuntu"
GO_WITHOUT = "et qgate_confine = auto"


def refusal() -> str:
    with pytest.raises(UsageError) as caught:
        decide("require", [])
    return str(caught.value)


def remedy() -> str:
    return refusal().partition("that works here. ")[2]


@pytest.fixture
def linux(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(choice.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(choice.devices, "is_expected", lambda: False)
    return monkeypatch


def tools(patch: pytest.MonkeyPatch, *names: str) -> None:
    patch.setattr(choice.shutil, "which", lambda name: f"/bin/{name}" if name in names else None)


def test_where_no_tool_is_installed_one_is_to_be(linux: pytest.MonkeyPatch) -> None:
    tools(linux)

    assert remedy().startswith(f"{INSTALL} install bubblewrap) and a{ALLOW}")


def test_a_tool_that_is_there_is_not_to_be_installed(linux: pytest.MonkeyPatch) -> None:
    tools(linux, "bwrap", "unshare")
    linux.setattr(choice, "_look", lambda *_: (None, "bwrap: setting up uid map: not permitted"))
    linux.setattr(choice, "_free", lambda _: {"its package": True})

    assert remedy().startswith(f"A{ALLOW}")


def test_where_the_runtime_needs_more_nothing_is_to_be_allowed(linux: pytest.MonkeyPatch) -> None:
    tools(linux, "bwrap")
    sees: dict[str, Any] = {"its package": False}
    bounds = {"pid": 2, "CapPrm": "0", "Seccomp": "2", "NoNewPrivs": "1"}
    linux.setattr(choice, "_look", lambda *_: ({**bounds, "sees": sees}, ""))
    linux.setattr(choice, "_free", lambda _: {"its package": True})

    assert remedy() == f"S{GO_WITHOUT}"


def test_another_system_has_no_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    assert remedy().startswith("Run it on Linux on x86_64 or aarch64, or s")


def test_no_room_for_a_directory_is_a_reason_and_no_crash(
    linux: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    linux.setattr("tempfile.tempdir", str(tmp_path / "absent"))

    reason = "no directory for a child (No such file or directory)"
    assert decide("auto", []).why_not == reason
    assert refusal() == (
        f"qgate_confine: the runtime cannot be confined: got {reason}; expected bubblewrap or"
        " unshare that works here. Free some space where temporary files lie, or name another"
        " place with TMPDIR, or set qgate_confine = auto"
    )
