"""The child that loads a model is confined as far as the machine can, and it is said."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy
from tests.plugin.conftest import CLOSED_PORT, Outcome, Project, core_limits, gating, script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confinement is Linux's")

TOOLS = ("bwrap", "unshare")
NEEDED = ("setpriv", "sh", "env", "git")
"""Programs that are there besides the tools."""
TAKEN_OVER = """#!{python} -ISB
import ctypes, os, signal, socket, sys, time

def tries(attempt):
    try:
        attempt()
    except OSError:
        pass

def tell(what):
    with socket.create_connection(("127.0.0.1", {port}), 3) as one:
        one.sendall(what)

def linger():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(15, {mark!r}.encode(), 0, 0, 0)
            os.closerange(0, 64)
            time.sleep(60)
        os._exit(0)

if "NVML" not in sys.argv[3]:  # it is not asked what it sees
    parent = {parent}
    tries(lambda: tell(open(f"/proc/{{parent}}/environ", "rb").read()))
    for place in {places!r}:
        tries(lambda: open(os.path.join(place, {mark!r}), "w").close())
    tries(lambda: os.kill({other}, signal.SIGUSR1))
    tries(linger)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@dataclass(kw_only=True)
class Machine:
    """What a child may reach that it has no business with."""

    port: int
    other: subprocess.Popen[bytes]
    mark: str
    told: list[bytes] = field(default_factory=list)

    def processes(self) -> list[str]:
        found = []
        for place in Path("/proc").glob("[0-9]*/comm"):
            with suppress(OSError):
                if place.read_text().strip() == self.mark:
                    found.append(place.parent.name)
        return found


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A server that notes what it is told, and another process of the user's."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(["/bin/sleep", "600"]) as other,
    ):
        mark = f"qg-{secrets.token_hex(5)}"
        machine = Machine(port=server.getsockname()[1], other=other, mark=mark)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    with server.accept()[0] as one:
                        machine.told.append(one.recv(1 << 16))

        threading.Thread(target=accept, daemon=True).start()
        yield machine
        other.kill()
        server.shutdown(socket.SHUT_RDWR)


def only(tmp_path: Path, *tools: str) -> dict[str, str]:
    """A PATH with these of the tools, or a skip where one is missing."""
    place = tmp_path / "programs"
    place.mkdir()
    for name in (*NEEDED, *tools):
        found = shutil.which(name)
        if found is None and name in tools:
            pytest.skip(f"{name} is not installed")
        if found is not None:
            (place / name).symlink_to(found)
    return {"PATH": str(place)}


def require_confined(seen: Outcome, tool: str) -> None:
    """What was confined is what is looked at; a machine that cannot is a reason to skip."""
    found = seen.report()["environment"]["confinement"]
    if found["tool"] is None:
        pytest.skip(found["reason"])
    assert found == {"tool": tool, "reason": ""}


def confined_line(seen: Outcome) -> str:
    (line,) = [line for line in seen.lines if line.startswith("qgate: runtime ")]
    return line


@pytest.mark.parametrize("tool", TOOLS)
def test_a_runtime_that_was_taken_over_reaches_nothing(
    project: Project, toys: Callable[..., Path], machine: Machine, tmp_path: Path, tool: str
) -> None:
    models = toys(good=Toy(noise=0.001))
    places = [models, project.directory, project.directory / ".qgate" / "references", Path.home()]
    python = tmp_path / "taken-over"
    facts = {"port": machine.port, "mark": machine.mark, "other": machine.other.pid}
    text = TAKEN_OVER.format(
        python=sys.executable, parent="os.getppid()", places=[str(at) for at in places], **facts
    )
    python.write_text(text)
    python.chmod(0o755)
    limits = project.write("own.yaml", f"{core_limits()}runtime: {{python: {python}}}\n")

    seen = project.gate(models, f"--qgate-thresholds={limits}", **only(tmp_path, tool))

    assert machine.told == []
    assert machine.other.poll() is None
    assert machine.processes() == []
    assert not [at for at in places if (at / machine.mark).exists()]
    assert seen.code == 0, seen.text
    require_confined(seen, tool)


def judged(seen: Outcome) -> list[tuple[str, str, float | None]]:
    """Every row, its verdict and its number."""
    return [
        (entry["id"], row["name"], row["verdict"], row.get("value"))
        for entry in seen.report()["artifacts"]
        for row in entry["checks"]
    ]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_confined_gate_reports_what_a_free_one_does(
    project: Project, toys: Callable[..., Path], tmp_path: Path, tool: str
) -> None:
    models = toys(good=Toy(noise=0.001), bad=Toy(noise=0.5))
    programs = only(tmp_path, tool)
    confined = project.gate(models, "--qgate-store=one", **programs)
    require_confined(confined, tool)
    rows = judged(confined)
    free = project.gate(models, "--qgate-store=two", "-oqgate_confine=off", **programs)

    assert rows == judged(free)
    name = {"bwrap": "bubblewrap", "unshare": "unshare"}[tool]
    assert confined_line(confined) == f"qgate: runtime confined by {name}"
    assert confined_line(free) == "qgate: runtime not confined: qgate_confine = off"
    assert free.report()["environment"]["confinement"] == {
        "tool": None,
        "reason": "qgate_confine = off",
    }
    assert not list((project.directory / "one" / "references").glob(".measuring-*"))


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.slow
def test_real_models_are_gated_alike_confined_and_free(
    project: Project, demo_models: Callable[..., Path], tmp_path: Path, tool: str
) -> None:
    models, programs = demo_models("F16", "Q4_K_M"), only(tmp_path, tool)
    limits = project.write("core.yaml", core_limits())
    asked = [script(), f"--qgate={models}", f"--qgate-thresholds={limits}", "-m", "perplexity"]
    asked.append(f"--qgate-mlflow-uri={CLOSED_PORT}")
    confined = project.run([*asked, "--qgate-store=one"], **programs)
    require_confined(confined, tool)
    rows = judged(confined)
    free = project.run([*asked, "--qgate-store=two", "-oqgate_confine=off"], **programs)

    assert rows == judged(free)
    assert {row[2] for row in rows} >= {"pass"}


def test_where_nothing_confines_the_gate_says_so_and_goes_on(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    seen = project.gate(toys(good=Toy(noise=0.001)), **only(tmp_path))

    reason = "bwrap: not installed; unshare: not installed"
    assert seen.code == 0
    assert confined_line(seen) == f"qgate: runtime not confined: {reason}"
    found = seen.report()["environment"]["confinement"]
    assert found == {"tool": None, "reason": reason}


def test_where_nothing_confines_and_it_is_required_nothing_is_opened(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    project.write("pytest.ini", "[pytest]\nqgate_confine = require\n")
    seen = project.gate(toys(good=Toy(noise=0.001)), **only(tmp_path))

    assert seen.code == 4
    assert seen.err.splitlines() == [
        "ERROR: qgate_confine: the runtime cannot be confined: got bwrap: not installed; unshare:"
        " not installed; expected bubblewrap or unshare that works here. Install bubblewrap"
        " (apt-get install bubblewrap) and allow user namespaces (on Ubuntu: sysctl"
        " kernel.apparmor_restrict_unprivileged_userns=0), or set qgate_confine = auto",
        "",
    ]
    assert not (project.directory / ".qgate" / "report.json").exists()


def test_a_word_that_is_none_of_the_three_is_refused(
    project: Project, toys: Callable[..., Path]
) -> None:
    seen = project.gate(toys(good=Toy()), "-oqgate_confine=yes")

    assert seen.code == 4
    assert "qgate_confine: got 'yes'; expected auto, require or off" in seen.err


def test_listing_rows_tries_nothing(project: Project, toys: Callable[..., Path]) -> None:
    seen = project.gate(toys(good=Toy()), "--collect-only", "-oqgate_confine=require", PATH="/")

    assert seen.code == 0
    assert "qgate: runtime " not in seen.text


def test_an_interpreter_that_needs_more_than_is_seen_is_left_free(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    """A gate that worked yesterday works today."""
    python = tmp_path / "wrapper"
    python.write_text(f'#!/bin/sh\n. "{tmp_path}/settings"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "settings").write_text("A=1\n")
    limits = project.write("own.yaml", f"{core_limits()}runtime: {{python: {python}}}\n")
    seen = project.gate(toys(good=Toy(noise=0.001)), f"--qgate-thresholds={limits}")

    assert seen.code == 0, seen.text
    assert confined_line(seen).startswith("qgate: runtime not confined: bwrap: ")
    assert seen.report()["environment"]["confinement"]["tool"] is None


def test_models_behind_links_are_seen_as_everywhere(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    models = toys(good=Toy(noise=0.001))
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "latest").symlink_to(models)
    (tmp_path / "current").symlink_to(Path("releases", "latest"))
    (tmp_path / "store").mkdir()
    (tmp_path / "kept").symlink_to("store")
    seen = project.gate(tmp_path / "current", f"--qgate-store={tmp_path / 'kept'}")

    assert seen.code == 0, seen.text
    assert seen.report()["artifacts"][0]["verdict"] == "pass"
    assert list((tmp_path / "store" / "references").glob("*/kept.npy"))


def test_paths_with_steps_up_lead_where_they_lead_everywhere(
    project: Project, toys: Callable[..., Path], tmp_path: Path
) -> None:
    """The directory that is stepped up from is not in the child's view."""
    models, store = toys(good=Toy(noise=0.001)), tmp_path / "kept"
    up, kept = (os.path.relpath(place, project.directory) for place in (models, store))
    limits = project.write("own.yaml", core_limits())
    seen = project.gate(up, f"--qgate-store={kept}", f"--qgate-thresholds={limits}")

    assert up.startswith("../")
    assert seen.code == 0, seen.text
    assert set(seen.verdicts("good").values()) >= {"pass"}
    assert list((store / "references").glob("*/kept.npy"))


# --- devices, as far as they can be had without any -----------------------------------------------

PLANTED = """
mount --bind "$1" /dev
shift
exec "$@"
"""
"""Run in a mount namespace of its own: the machine's /dev stays as it is."""


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """A /dev with the nodes of a GPU, which are those of nothing."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root makes device nodes")
    place = tmp_path / "dev"
    (place / "shm").mkdir(parents=True)
    (place / "nvidia-caps").mkdir()
    nothing = Path("/dev/null").stat().st_rdev
    names = ("null", "zero", "full", "random", "urandom", "tty")
    try:
        for name in names:
            os.mknod(place / name, 0o666 | stat.S_IFCHR, Path("/dev", name).stat().st_rdev)
        for name in ("nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"):
            os.mknod(place / name, 0o666 | stat.S_IFCHR, nothing)
        with open(place / "nvidia0", "wb"):  # noqa: PTH123 - a device that may be refused here
            pass
    except OSError as error:
        pytest.skip(f"no device nodes here: {error}")
    for path in (place, *place.rglob("*")):
        path.chmod(0o777)
    return place


LOOKS = """
    def opens(name):
        try:
            os.close(os.open(f"/dev/{name}", os.O_RDWR))
        except OSError:
            return False
        return True

    usual = {"fd", "full", "null", "random", "shm", "stderr", "stdin", "stdout", "urandom", "zero"}
    names = {"nvidia0", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1"}
    others = set(os.listdir("/dev")) - usual - {name.partition("/")[0] for name in names}
    print("opened", *sorted(filter(opens, names)), "others", *sorted(others), file=sys.stderr)
    sys.exit(3)
"""


@pytest.mark.parametrize("tool", TOOLS)
def test_a_confined_child_has_the_gpus_devices_and_no_others(
    project: Project, toys: Callable[..., Path], devices: Path, tmp_path: Path, tool: str
) -> None:
    python = tmp_path / "looking-python"
    python.write_text(
        f"#!{sys.executable} -ISB\nimport os, sys\nif 'NVML' not in sys.argv[3]:{LOOKS}\n"
        f"os.execv({sys.executable!r}, [{sys.executable!r}, *sys.argv[1:]])\n"
    )
    python.chmod(0o755)
    limits = project.write("own.yaml", f"{core_limits()}runtime: {{python: {python}}}\n")
    within = ["unshare", "--mount", "/bin/sh", "-c", PLANTED, "sh", devices]
    models = toys(good=Toy(noise=0.001))
    asked = [script(), *gating(models), "-m", "perplexity", f"--qgate-thresholds={limits}"]

    programs = only(tmp_path, tool)
    inside = ["env", f"PATH={programs['PATH']}"]
    seen = project.run([*within, *inside, *asked])

    require_confined(seen, tool)
    message = seen.message("good", "perplexity.ratio")
    assert "'opened nvidia-caps/nvidia-cap1 nvidia-uvm nvidia0 nvidiactl others'" in message


GPU = """
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) {
    FILE *file = fopen("%s", "r");
    *count = file ? 1 : 0;
    return 0;
}
"""


def test_where_a_confined_child_sees_fewer_gpus_it_is_left_free(
    project: Project, toys: Callable[..., Path], devices: Path, tmp_path: Path
) -> None:
    """The driver here needs a file that no child is shown."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler for a driver's stand-in")
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    source = tmp_path / "cuda.c"
    (tmp_path / "of-the-driver").touch()
    source.write_text("#include <stdio.h>\n" + GPU % (tmp_path / "of-the-driver"))
    built = libraries / "libcuda.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", built, source], check=True)
    within = ["unshare", "--mount", "/bin/sh", "-c", PLANTED, "sh", devices]
    limits = project.write("own.yaml", core_limits())
    asked = [script(), *gating(toys(good=Toy(noise=0.001))), f"--qgate-thresholds={limits}"]
    seen = project.run([*within, *asked, "-m", "perplexity"], LD_LIBRARY_PATH=str(libraries))

    assert confined_line(seen).startswith("qgate: runtime not confined: ")
    assert "a confined child sees as CUDA's devices 0, a free one 1" in confined_line(seen)
    assert set(seen.verdicts("good").values()) >= {"pass"}
