"""Where tests find vLLM: an interpreter that has it, and the demo's model in forms it serves."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.ragged import from_flat, to_flat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgate.runtimes.host import Host

VARIABLE = "QGATE_VLLM_PYTHON"
CONTEXT = 512
"""Of the demo's model, tokens."""
SEQUENCES, TOKENS = 12, 192
ENDS = (1, 4)
"""End of text and end of a turn, by the model's generation_config.json."""


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


def load(host: Host, path: Path, **settings: Any) -> dict[str, Any]:
    wanted = {"window_tokens": TOKENS, "context_tokens": CONTEXT, **settings}
    return host.call("load", path=str(path), **wanted)


def score(host: Host, windows: np.ndarray, **kept: Any) -> dict[str, Any]:
    settings = {"stored": None, "anchors": None, "tops": None, **kept}
    return host.call("score", windows=windows, first=TOKENS // 2, **settings)


def prompts(host: Host) -> tuple[np.ndarray, ...]:
    texts = ["Once upon a time", "Translate: cat", "3 + 4 =", "red blue green", "def f(x):"]
    return from_flat(host.call("encode", texts=texts, begins=[True] * len(texts))["ids"])


def answer(
    host: Host, ids: tuple[np.ndarray, ...], most: int, side_by_side: int, **more: Any
) -> dict[str, Any]:
    return host.call(
        "answer",
        ids=to_flat(ids, "<i4"),
        max_tokens=np.full(len(ids), most, dtype=np.int32),
        side_by_side=side_by_side,
        **more,
    )
