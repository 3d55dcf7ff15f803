"""How a child is started, what it gets to know, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate import errors
from qgate.runtimes.environment import child_environment
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.verbs import DESCRIBE, TOKENIZE
from tests.conftest import Toy

Planted = Callable[[str], str]

TELL = """
import json, os, subprocess, sys
import numpy as np
class Planted:
    def tokenize(self, text):
        told = json.dumps(eval(text)).encode()
        return np.frombuffer(told, dtype=np.uint8), np.zeros(len(told), dtype=np.int32)

    def sample(self, sampling, progress):
        raise NotImplementedError
"""


def tell(host: Host, question: str) -> Any:
    import json

    return json.loads(TOKENIZE.ask(host, question).ids.tobytes())


def processes(session: int) -> list[int]:
    """Everything alive that belongs to a session (not zombies)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def is_gone(pid: int, within_s: float = 5.0) -> bool:
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@linux_only
@pytest.mark.alone
def test_nothing_is_left_of_a_child_that_started_others(planted: Planted) -> None:
    with Host(HostSettings(runtime=planted(TELL))) as host:
        directory = Path(tell(host, "os.getcwd()"))
        sleeper = tell(host, "subprocess.Popen(['sleep', '300']).pid")
        session = host.pid
        assert {session, sleeper} <= set(processes(session))
        assert list(directory.iterdir()) == []
        started = time.monotonic()

    assert time.monotonic() - started < 5.0
    assert is_gone(session)
    assert is_gone(sleeper)
    assert processes(session) == []
    assert not directory.exists()


@linux_only
def test_a_process_that_left_the_session_keeps_nobody_waiting(planted: Planted) -> None:
    away = "subprocess.Popen(['sleep', '300'], start_new_session=True).pid"
    with Host(HostSettings(runtime=planted(TELL))) as host:
        sleeper = tell(host, away)
        started = time.monotonic()

    assert time.monotonic() - started < 8.0
    os.kill(sleeper, signal.SIGKILL)


@linux_only
def test_a_busy_child_dies_with_its_parent(toys: Callable[..., Path], tmp_path: Path) -> None:
    model = toys(slow=Toy(fault="hang:load")) / "slow.gguf"
    parent = tmp_path / "parent.py"
    parent.write_text(
        "from qgate.runtimes.host import Host, HostSettings\n"
        "from qgate.runtimes.verbs import DESCRIBE\n"
        "from tests.support.children import load\n"
        "from pathlib import Path\n"
        "host = Host(HostSettings(runtime='fake'))\n"
        "DESCRIBE.ask(host, None)\n"
        "print(host.pid, host._folder.path, flush=True)\n"
        f"load(host, Path({str(model)!r}))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, str(parent)], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        pid, _, directory = process.stdout.readline().strip().partition(" ")
        assert processes(int(pid)) == [int(pid)]
        time.sleep(0.7)  # for the request to be under way

        process.send_signal(signal.SIGKILL)

    assert is_gone(int(pid))
    Path(directory).rmdir()


def test_a_child_gets_the_names_that_it_needs_or_that_the_user_lets_through() -> None:
    secrets = {
        "HF_TOKEN": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_ACCESS_KEY_ID": "x",
        "MLFLOW_TRACKING_PASSWORD": "x",
        "OPENAI_API_KEY": "x",
        "Azure_Credentials": "x",
        "DEPLOY_PRIVATE_KEY": "x",
        "MLFLOW_TRACKING_URI": "https://me:secret@mlflow.example/api",
        "PIP_INDEX_URL": "https://secret@pypi.example/simple",
        **dict.fromkeys(("GH_PAT", "PGPASS", "MYSQL_PWD", "WANDB_KEY", "DOCKER_AUTH_CONFIG"), "x"),
        "SLACK_WEBHOOK": "https://hooks.example/services/x",
        "VLLM_API_KEY": "x",
    }
    harmless = {
        "PATH": "/bin",
        "HOME": "/root",
        "LD_LIBRARY_PATH": "/opt/cuda",
        "CUDA_VISIBLE_DEVICES": "0",
        "LLAMA_CPP_LIB_PATH": "/opt/llama",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_ENDPOINT": "https://hf.example/a@b",
    }

    named = {"QGATE_PASS_ENV": "MY_RUNTIME_HOME, MY_TOKEN", "MY_RUNTIME_HOME": "x", "MY_TOKEN": "x"}

    environment = child_environment({**secrets, **harmless, **named, "OMP_WAIT_POLICY": "active"})

    assert not secrets.keys() & environment.keys()
    assert {**harmless, **named}.items() <= environment.items()
    assert environment["OMP_WAIT_POLICY"] == "passive"
    assert environment["GOMP_SPINCOUNT"] == "1000"


def test_a_real_child_has_no_secret_and_waits_passively(
    planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with Host(HostSettings(runtime=planted(TELL))) as host:
        environment = tell(host, "dict(os.environ)")

    assert "hf_secret" not in environment.values()
    assert environment["OMP_WAIT_POLICY"] == "passive"


def test_another_interpreter_is_used_when_named(tmp_path: Path) -> None:
    witness = tmp_path / "was used"
    python = tmp_path / "my python"
    python.write_text(f'#!/bin/sh\necho "$@" > "{witness}"\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)

    with Host(HostSettings(runtime="fake", python=str(python))) as host:
        assert DESCRIBE.ask(host, None).name == "fake"

    assert witness.read_text().startswith("-P -c ")


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment without numpy, and without qgate."""
    place = tmp_path_factory.mktemp("bare") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    return place / "bin" / "python"


def test_another_interpreter_gets_nothing_of_this_ones_packages(
    bare_python: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path(np.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", str(here))

    with (
        Host(HostSettings(runtime="fake", python=str(bare_python))) as host,
        pytest.raises(errors.RuntimeFailed) as caught,
    ):
        DESCRIBE.ask(host, None)

    assert str(caught.value) == (
        "runtime ended in describe without a result: exit code 1;"
        " last words: 'ModuleNotFoundError: No module named 'numpy''"
    )


def test_another_interpreter_needs_no_qgate_but_serves_it(
    bare_python: Path, tmp_path: Path
) -> None:
    [packages] = bare_python.parents[1].glob("lib/python*/site-packages")
    (packages / "only_numpy.pth").write_text(f"{tmp_path}\n")
    for package in (*Path(np.__file__).parents[1].glob("numpy*"),):
        (tmp_path / package.name).symlink_to(package)
    facts = tmp_path / "planted-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[qgate.runtimes]\nplanted = planted:Planted\n")
    (tmp_path / "planted.py").write_text(TELL)

    with Host(HostSettings(runtime="planted", python=str(bare_python))) as host:
        path, executable = tell(host, "sys.path"), tell(host, "sys.executable")

    (packages / "only_numpy.pth").unlink()
    assert executable == str(bare_python)
    assert {str(packages), str(tmp_path)} <= set(path)
    assert not [entry for entry in path if entry.startswith(sys.prefix + os.sep)]
    assert str(Path(__file__).parents[2]) not in path


BAD_INTERPRETERS = [
    ("absent/python", None, "No such file or directory"),
    ("directory", "directory", "Permission denied"),
    ("text", "plain text", "Permission denied"),
]


@pytest.mark.parametrize(("name", "content", "why"), BAD_INTERPRETERS)
def test_an_interpreter_that_cannot_start_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: str | None, why: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    python = tmp_path / name
    if content == "directory":
        python.mkdir()
    elif content is not None:
        python.write_text(content)

    with pytest.raises(errors.RuntimeUnavailable) as caught:
        Host(HostSettings(runtime="fake", python=str(python)))

    assert str(caught.value) == (
        f"runtime.python: cannot start '{python}': {why}; expected a Python interpreter"
    )
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_program_that_is_no_python_is_one_line() -> None:
    with (
        Host(HostSettings(runtime="fake", python="/bin/false")) as host,
        pytest.raises(errors.RuntimeFailed) as caught,
    ):
        DESCRIBE.ask(host, None)

    line = "runtime ended in describe without a result: exit code 1"
    assert str(caught.value) == line
