"""A confined child ends as a free one does: whole, at once, and by the name of its signal."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.confinement import NAMES, Tool
from qgate.errors import QGateError, RuntimeFailed
from qgate.runtimes.confined import choice
from qgate.runtimes.confined.child_view import Reach
from qgate.runtimes.confined.choice import Child, decide
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.launch import environment_for
from qgate.runtimes.verbs import DESCRIBE
from tests.conftest import Toy
from tests.support.children import load, score

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


def load_and_score(host: Host, path: Path) -> None:
    load(host, path)
    score(host, np.arange(64, dtype=np.int32).reshape(2, 32) % 60)


DOUBT = "It was confined: qgate_confine = off tells whether that is why"


@pytest.mark.parametrize("fault", ["segfault:load", "unavailable:load", "segfault:score"])
def test_what_does_not_load_may_have_been_shown_too_little(
    confinement: Confinement, toys: Callable[..., Path], fault: str
) -> None:
    """A crash; not a refusal that names its own reason, nor what happens when it is loaded."""
    models = toys(fails=Toy(fault=fault))
    settings = HostSettings(runtime="fake", confinement=confinement, reach=Reach(reads=(models,)))
    with Host(settings) as host, pytest.raises(QGateError) as caught:
        load_and_score(host, models / "fails.gguf")

    assert (DOUBT in str(caught.value)) == (fault == "segfault:load")


def test_an_interpreter_is_found_by_a_name_with_steps_up(
    confinement: Confinement, tmp_path: Path
) -> None:
    """As a thresholds file names it: `python: ../runtime/python`."""
    python, beside = tmp_path / "python", tmp_path / "thresholds"
    beside.mkdir()
    python.write_text(
        f"#!{sys.executable} -ISB\nimport os, sys\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    python.chmod(0o755)
    named = str(beside / ".." / "python")
    settings = HostSettings(runtime="fake", python=named, confinement=confinement)

    with Host(settings) as host:
        assert DESCRIBE.ask(host, None).name == "fake"
