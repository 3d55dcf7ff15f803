"""A gate that starts, and so sweeps, beside one that tries its children takes no folder away."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qgate.runtimes.confined import bytecode, choice, starting
from qgate.runtimes.confined.choice import Child
from qgate.untrusted.work_folder import sweep_temporary

TRIES = {
    "trying": lambda: choice._look(Child(python=sys.executable), None),
    "compiling": lambda: bytecode.compile_once(sys.executable, ["big"], {}),
}


@pytest.mark.parametrize("what", TRIES)
def test_the_folder_of_a_child_that_is_tried_outlives_another_gates_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(bytecode, "_is_new", lambda *_: True)
    is_left: list[bool] = []

    def start(_command: object, _environment: object, directory: str, *_: object) -> None:
        sweep_temporary()
        is_left.append(Path(directory).is_dir())
        raise OSError("seen enough")

    monkeypatch.setattr(starting, "start", start)

    TRIES[what]()

    assert is_left == [True]
    assert list(tmp_path.iterdir()) == []
