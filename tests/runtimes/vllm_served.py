"""Where tests find vLLM: an interpreter that has it, and the demo's model in forms it serves."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qgate.demo.__main__ import model_directory

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np

VARIABLE = "QGATE_VLLM_PYTHON"
CONTEXT = 512
"""Of the demo's model, tokens."""


def python_with_vllm() -> str:
    """The interpreter named by QGATE_VLLM_PYTHON, or this one."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    if importlib.util.find_spec("vllm") is None:
        pytest.skip(f"vLLM is not installed here and {VARIABLE} names no interpreter that has it")
    return sys.executable


def copy_of_demo(directory: Path, **config: Any) -> Path:
    """The demo's model, its config.json changed."""
    shutil.copytree(model_directory(), directory)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return directory


def rewrite(
    directory: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> Path:
    """The same directory, its tensors changed."""
    numpy = pytest.importorskip("safetensors.numpy", reason="needs safetensors")
    path = directory / "model.safetensors"
    numpy.save_file(change(numpy.load_file(path)), path, metadata={"format": "pt"})
    return directory
