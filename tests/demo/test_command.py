"""``python -m qgate.demo`` as a person types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qgate.demo.__main__ as command
from qgate.demo.certify import ITEMS, write_certify
from qgate.measure.tasks.items import read_task
from qgate.thresholds import load_thresholds

CERTIFIED = ("arithmetic", "classification", "code", "languages", "next_sentence", "recall")
ROOT = Path(command.__file__).parents[2]


def run(*arguments: str, cwd: Path, code: str = "") -> subprocess.CompletedProcess[str]:
    start = ["-c", code] if code else ["-m", "qgate.demo"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "passive"}
    return subprocess.run(
        [sys.executable, *start, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def _needs() -> None:
    for name in command.NEEDED:
        pytest.importorskip(name)


@pytest.mark.usefixtures("_needs")
def test_the_demo_is_made_and_made_again(tmp_path: Path) -> None:
    first = run("models", "--with-broken", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    made = contents(tmp_path / "models")
    assert sorted(made) == [
        "certify.yaml",
        "qgate-demo-F16.gguf",
        "qgate-demo-Q2_K.gguf",
        "qgate-demo-Q4_K_M.gguf",
        "qgate-demo-Q6_K.gguf",
        "qgate-demo-Q8_0.gguf",
        "qgate-demo-damaged-Q8_0.gguf",
        *(f"tasks/{name}.jsonl" for name in CERTIFIED),
    ]
    lines = first.stdout.splitlines()
    assert len(lines) == len(made) - len(CERTIFIED) + 1
    assert lines[-1] == "Now type: pytest --qgate models"
    assert lines[1].split()[1:3] == ["Q8_0", "3.9"] or "Q8_0" in lines[1]
    again = run("models", "--with-broken", cwd=tmp_path)
    assert again.returncode == 0
    assert made == contents(tmp_path / "models")


def test_every_certified_task_has_as_many_items_as_its_limit_needs(tmp_path: Path) -> None:
    write_certify(tmp_path, len)
    thresholds = load_thresholds(tmp_path / "certify.yaml", tmp_path)
    certified = [task for task in thresholds.tasks if task.file and "certify" in str(task.source)]
    assert sorted(task.name for task in certified) == sorted(CERTIFIED)
    for task in certified:
        items = read_task(task)
        assert len(items.items) == ITEMS
        assert thresholds.limits_for("a", "Q8_0")[task.check.name].rule == "certify"


@pytest.mark.usefixtures("_needs")
def test_without_a_directory_it_makes_demo_models(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / "demo-models").iterdir()) == [
        "certify.yaml",
        "qgate-demo-F16.gguf",
        "qgate-demo-Q4_K_M.gguf",
        "qgate-demo-Q6_K.gguf",
        "qgate-demo-Q8_0.gguf",
        "tasks",
    ]


@pytest.mark.usefixtures("_needs")
def test_a_target_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine", encoding="utf-8")
    for target in ("taken", "taken/below"):
        done = run(target, cwd=tmp_path)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith(f"python -m qgate.demo: {target}: ")
        assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "taken").read_text(encoding="utf-8") == "mine"


@pytest.mark.usefixtures("_needs")
def test_a_failure_leaves_no_unfinished_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_source: Path, target: Path, **_: object) -> None:
        target.write_bytes(b"half")
        raise PermissionError(13, "Permission denied", str(target))

    monkeypatch.setattr(command, "quantize", refuse)
    assert command.main([str(tmp_path)]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["qgate-demo-F16.gguf"]
    assert capsys.readouterr().err.endswith("Permission denied\n")


@pytest.mark.parametrize("name", ["llama_cpp", "gguf"])
def test_a_missing_package_is_named_with_the_way_to_install_it(tmp_path: Path, name: str) -> None:
    code = (
        "import sys, importlib.machinery as m\n"
        "find = m.PathFinder.find_spec\n"
        f"m.PathFinder.find_spec = lambda n, *a: None if n == {name!r} else find(n, *a)\n"
        "from qgate.demo.__main__ import main\n"
        "sys.exit(main(['models']))\n"
    )
    done = run(cwd=tmp_path, code=code)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert name in done.stderr
    assert 'pip install "pytest-qgate[gguf]"' in done.stderr
    assert not (tmp_path / "models").exists()
