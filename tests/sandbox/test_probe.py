"""Isolation is returned only where it holds; else one line says what is missing."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import qgate
from qgate.confinement import Tool
from qgate.errors import MeasurementError
from qgate.sandbox import Limits, Outcome, Program, find_isolation, run_programs
from qgate.sandbox import self_test as probe
from qgate.sandbox.isolation import Isolation

ORDINARY_USER = 54321
FIND = """
import sys
from qgate.sandbox import Limits, Program, find_isolation, run_programs
isolation = find_isolation([sys.argv[1]])
assert not isolation.is_root
codes = ["assert True", "assert False"]
found = run_programs([Program(name="a", code=code) for code in codes], Limits(), isolation)
sys.stdout.write(repr([outcome.passed for outcome in found]))
"""


def plant(directory: Path, name: str, script: str) -> None:
    directory.mkdir(exist_ok=True)
    tool = directory / name
    tool.write_text("#!/bin/sh\n" + script)
    tool.chmod(0o755)


def refusal() -> str:
    with pytest.raises(MeasurementError) as caught:
        find_isolation()
    line = str(caught.value)
    assert line.startswith("code_execution: no sandbox for generated programs: got ")
    assert "\n" not in line
    return line


def test_a_full_temporary_directory_is_not_taken_for_a_missing_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path / "tools", "bwrap", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "tools"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))

    with pytest.raises(MeasurementError) as caught:
        find_isolation()

    assert str(caught.value) == (
        f"code_execution: got no room in {tmp_path / 'nowhere'} (No such file or directory);"
        " expected room for a few files. Free some space, or name another directory with TMPDIR"
    )


def test_missing_tools_are_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refusal()

    assert "got bwrap: not installed; unshare: not installed; expected bubblewrap or" in line
    assert "apt-get install bubblewrap" in line


def test_a_machine_without_namespaces_is_refused_in_the_tools_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "unshare: unshare failed: Operation not permitted"
    plant(tmp_path / "bin", "unshare", f"echo '{words}' >&2\nexit 1\n")
    plant(tmp_path / "bin", "setpriv", 'shift 2\nexec "$@"\n')
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert f"did not come up: exit code 1; last words: {words}" in refusal()


def test_a_tool_that_isolates_nothing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = 'while [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    plant(tmp_path / "bin", "bwrap", runs)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert "got bwrap: does not hold: " in refusal()


WITHOUT = """
n=$#
while [ $n -gt 0 ]; do n=$((n - 1)); [ "$1" = {option} ] || set -- "$@" "$1"; shift; done
exec {bwrap} "$@"
"""


@pytest.mark.parametrize(
    ("script", "leak"),
    [
        (WITHOUT.replace("{option}", "--unshare-net"), "reaches the network"),
        (WITHOUT.replace("{option}", "--unshare-pid"), "sees the machine's processes"),
        ('exec {bwrap} --setenv HF_TOKEN x "$@"\n', "sees the environment: {'HF_TOKEN'}"),
        ('exec {bwrap} --ro-bind /etc /etc "$@"\n', "reads /etc/passwd"),
        ('exec {bwrap} --ro-bind / /outside "$@"\n', "sees {'outside'}"),
    ],
)
def test_a_sandbox_that_lacks_one_wall_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, leak: str
) -> None:
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        pytest.skip("needs bubblewrap")
    plant(tmp_path / "bin", "bwrap", script.replace("{bwrap}", bwrap))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    assert f"bwrap: does not hold: AssertionError: {leak}" in refusal()


def test_root_in_name_only_is_refused_where_no_limit_of_processes_binds_it() -> None:
    """The caller's root keeps its exemption in a user namespace that calls it something else."""
    unshare = shutil.which("unshare")
    if os.geteuid() != 0 or unshare is None:
        pytest.skip("needs root and unshare")
    found = subprocess.run(
        [unshare, "--user", "--map-root-user", sys.executable, "-c", FIND, "unshare"],
        env={**os.environ, "PYTHONPATH": str(Path(qgate.__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    if "Operation not permitted" in found.stderr:
        pytest.skip(found.stderr.splitlines()[-1])
    assert found.returncode == 1
    assert "does not hold: AssertionError: starts any number of processes" in found.stderr


def test_a_system_without_unix_modules_gets_the_same_line() -> None:
    code = (
        "import sys\nfor name in ('resource', 'fcntl', 'pwd'): sys.modules[name] = None\n"
        "sys.platform = 'win32'\nfrom qgate.sandbox import find_isolation\nfind_isolation()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(Path(qgate.__file__).resolve().parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "code_execution: no sandbox for generated programs: got win32 on" in found.stderr


def test_another_system_or_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert refusal().endswith(
        f"got darwin on {platform.machine()}; expected Linux on x86_64 or aarch64."
        " Run these tasks on such a machine"
    )
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert "got linux on riscv64; expected Linux on x86_64 or aarch64." in refusal()


def test_a_probe_whose_failures_pass_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    passed = Outcome(passed=True, why="", wall_s=0.1)
    monkeypatch.setattr(probe, "run_programs", lambda *_: [passed, passed])
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")

    assert "bwrap: does not hold: failures pass" in refusal()


def test_a_sandbox_that_does_not_come_up_is_no_programs_fault() -> None:
    isolation = Isolation(tool=Tool(name="bwrap", path="/nonexistent/bwrap"), is_root=False)
    with pytest.raises(MeasurementError, match="the sandbox of a did not come up: exit code 127"):
        run_programs([Program(name="a", code="")], Limits(), isolation)


@pytest.mark.parametrize("tool", ["bwrap", "unshare"])
def test_isolation_holds_for_an_ordinary_user_too(tool: str) -> None:
    """Where the tests run as root: the machine's own Python, as somebody else."""
    package = Path(qgate.__file__).resolve().parents[1]
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if os.geteuid() != 0 or python is None or shutil.which(tool) is None:
        pytest.skip(f"needs root, a python3 of the machine's, and {tool}")
    found = subprocess.run(
        [python, "-B", "-c", FIND, tool],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(package)},
        cwd="/",
        user=ORDINARY_USER,
        group=ORDINARY_USER,
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )
    for reason in ("Operation not permitted", "Permission denied", "No module named 'qgate'"):
        if reason in found.stderr:
            pytest.skip(found.stderr.splitlines()[-1])
    assert found.stdout == "[True, False]", found.stderr
