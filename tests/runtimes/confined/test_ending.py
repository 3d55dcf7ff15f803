"""A confined child ends as a free one does: whole, at once, and by the name of its signal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.confinement import NAMES, Tool
from qgate.errors import RuntimeFailed
from qgate.runtimes.confined import choice
from qgate.runtimes.confined.child_view import Reach
from qgate.runtimes.confined.choice import Child, decide
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.launch import environment_for
from tests.conftest import Toy
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.confinement import Name
    from qgate.runtimes.confined.starting import Confinement

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")


@pytest.fixture(params=NAMES)
def confinement(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Confinement:
    """By each of the tools, where it works here."""
    name: Name = request.param
    monkeypatch.setattr(choice, "NAMES", (name,))
    child = Child(python=sys.executable, environment=environment_for(sys.executable))
    found = decide("auto", [child])
    if found.tool is None:
        pytest.skip(found.why_not)
    assert found.tool == Tool(name=name, path=str(shutil.which(name)))
    return found


def of_session(session: int) -> list[str]:
    """Everything of a session, zombies too."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            found.append(stat.parent.name)
    return found


def test_nothing_of_a_child_that_hung_is_left_when_that_is_said(
    confinement: Confinement, toys: Callable[..., Path]
) -> None:
    """The next child finds the devices free."""
    models = toys(stuck=Toy(fault="hang:load"))
    settings = HostSettings(
        runtime="fake", stall_s=1.0, confinement=confinement, reach=Reach(reads=(models,))
    )
    with Host(settings) as host:
        session = host.pid
        with pytest.raises(RuntimeFailed, match="no progress in load for 1 s"):
            load(host, models / "stuck.gguf")
        assert of_session(session) == []


def test_a_signal_that_ended_it_has_its_name(
    confinement: Confinement, toys: Callable[..., Path]
) -> None:
    models = toys(crashes=Toy(fault="segfault:load"))
    settings = HostSettings(runtime="fake", confinement=confinement, reach=Reach(reads=(models,)))
    with (
        Host(settings) as host,
        pytest.raises(RuntimeFailed, match="runtime crashed: SIGSEGV in load"),
    ):
        load(host, models / "crashes.gguf")
