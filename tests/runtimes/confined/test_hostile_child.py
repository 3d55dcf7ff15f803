"""A child that was taken over: what it tries, and that it gets nothing of it."""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")

NOBODY = 65534
SECRET = "a-token-of-the-parent"
READABLE = "import os, sys, numpy, qgate; open(sys.executable).close(); os.listdir(sys.prefix)"
LEAST = 60
"""Attempts, so that none gets lost."""


@dataclass(kw_only=True)
class World:
    """What there is to be reached, and what became of it."""

    place: Path
    facts: dict[str, Any]
    connected: list[str] = field(default_factory=list)
    signals: subprocess.Popen[bytes] | None = None

    @property
    def artifact(self) -> Path:
        return Path(self.facts["artifact"])


def listen(stack: ExitStack, world: World, family: int, address: Any) -> socket.socket:
    """Note whoever connects."""
    server = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
    server.bind(address)
    server.listen()

    def accept() -> None:
        with suppress(OSError):
            while True:
                server.accept()[0].close()
                world.connected.append(str(address))

    threading.Thread(target=accept, daemon=True).start()
    stack.callback(server.shutdown, socket.SHUT_RDWR)
    return server


@pytest.fixture
def world() -> Iterator[World]:
    """Models, a store, a home with a key, servers and neighbours, which anybody may reach."""
    mark = f"qg-{secrets.token_hex(5)}"
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="qgate-hostile-"))
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        for name in ("models", "others", "home/.ssh", "working", "store/entry"):
            (place / name).mkdir(parents=True)
        files = {
            "artifact": place / "models" / "model.gguf",
            "another": place / "others" / "another.gguf",
            "entry": place / "store" / "entry" / "entry.json",
        }
        for path in (*files.values(), place / "home" / ".ssh" / "id_rsa"):
            path.write_text("as it was")
        shared = Path("/dev/shm", f"{mark}-shared")
        shared.write_text("as it was")
        stack.callback(shared.unlink)
        world = World(place=place, facts={name: str(path) for name, path in files.items()})
        server = listen(stack, world, socket.AF_INET, ("0.0.0.0", 0))
        listen(stack, world, socket.AF_UNIX, f"\0{mark}")
        listen(stack, world, socket.AF_UNIX, str(place / "daemon.sock"))
        other = stack.enter_context(subprocess.Popen(["/bin/sleep", "600"]))
        stack.callback(other.kill)
        world.signals = other
        libc = ctypes.CDLL(None)
        key = secrets.randbits(30)
        segment = libc.shmget(key, 4096, 0o1666)
        stack.callback(libc.shmctl, segment, 0, None)
        world.facts |= {
            "mark": mark,
            "secret": SECRET,
            "other": other.pid,
            "home": str(place / "home"),
            "working": str(place / "working"),
            "store": str(place / "store"),
            "package": str(ROOT / "qgate" / "__init__.py"),
            "prefixes": [f"{prefix}/qgate-was-here" for prefix in (sys.prefix, sys.base_prefix)],
            "port": server.getsockname()[1],
            "address": own_address(),
            "abstract": mark,
            "socket": str(place / "daemon.sock"),
            "shared": shared.name,
            "shared_key": key,
            "setuid": [path for path in ("/usr/bin/su", "/usr/bin/passwd") if Path(path).exists()],
        }
        yield world


def own_address() -> str:
    """Of the machine, where it has one besides the loopback's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.connect(("192.0.2.1", 53))
        except OSError:
            return "127.0.0.2"
        return str(one.getsockname()[0])


def interpreter_of(user: int) -> str:
    """One that this user can start, with what qgate needs."""
    if user == os.geteuid():
        return sys.executable
    for python in (sys.executable, shutil.which("python3", path="/usr/bin") or ""):
        command = [*become(user), python, "-c", READABLE]
        with suppress(OSError):
            done = subprocess.run(command, env=environment(), capture_output=True, check=False)
            if done.returncode == 0:
                return python
    pytest.skip(f"no interpreter with numpy and qgate that user {user} can read")


def become(user: int) -> list[str]:
    if user == os.geteuid():
        return []
    if os.geteuid() != 0:
        pytest.skip("only root becomes somebody else")
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--inh-caps=-all"]


def environment() -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT), str(Path(np.__file__).parents[1])])
    return {**os.environ, "PYTHONPATH": paths, "GH_PAT": SECRET}


def attack(world: World, tool: str, user: int) -> dict[str, Any]:
    """What the child answers that was taken over."""
    python = interpreter_of(user)
    if user != os.geteuid():
        for path in (world.place, *world.place.rglob("*")):
            os.chown(path, user, user)
    facts = world.place / "facts.json"
    facts.write_text(json.dumps({**world.facts, "tool": tool}))
    facts.chmod(0o644)
    world.place.chmod(0o755)
    leaked = os.open(world.facts["another"], os.O_RDONLY)
    os.set_inheritable(leaked, True)
    done = subprocess.run(
        [*become(user), python, str(Path(__file__).with_name("driver.py")), str(facts)],
        env={**environment(), "HOME": world.facts["home"]},
        cwd=world.facts["working"],
        close_fds=False,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    os.close(leaked)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    if not told["got"]:
        pytest.skip(told["line"])
    return told


def processes_named(mark: str) -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):
            if place.read_text().strip() == mark:
                found.append(place.parent.name)
    return found


@pytest.mark.alone
@pytest.mark.parametrize("user", [0, NOBODY], ids=["root", "nobody"])
@pytest.mark.parametrize("tool", ["bwrap", "unshare"])
def test_a_child_that_was_taken_over_gets_nothing(world: World, tool: str, user: int) -> None:
    if user == 0 and os.geteuid() != 0:
        user = os.geteuid()
    told = attack(world, tool, user)

    got = {name: one["got"] for name, one in told["got"].items() if "got" in one}
    # what it has is its own: a daemon that goes with it
    assert got.keys() == {"a daemon that stays"}, got
    assert len(told["got"]) >= LEAST
    assert world.connected == []
    assert world.signals is not None
    assert world.signals.poll() is None
    mark = world.facts["mark"]
    until = time.monotonic() + 3.0
    while processes_named(mark) and time.monotonic() < until:
        time.sleep(0.05)
    assert processes_named(mark) == []
    left = [Path(top, mark) for top in ("/tmp", "/var/tmp", "/dev/shm")]
    assert not [path for path in left if path.exists()]
    assert [path.name for path in world.artifact.parent.iterdir()] == ["model.gguf"]
    assert world.artifact.read_text() == "as it was"
    assert Path(world.facts["entry"]).read_text() == "as it was"
    assert Path("/dev/shm", world.facts["shared"]).read_text() == "as it was"
