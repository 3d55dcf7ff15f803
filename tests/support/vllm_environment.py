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
from qgate.runtimes.base import Prompt
from qgate.runtimes.messages import Batch, Texts
from qgate.runtimes.verbs import ANSWER, ENCODE
from tests.support import children

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np

    from qgate.runtimes.base import ModelFacts
    from qgate.runtimes.host import Host
    from qgate.runtimes.messages import Answers

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


def load(host: Host, path: Path, window_tokens: int = TOKENS, **settings: Any) -> ModelFacts:
    wanted = {"threads": None, "context_tokens": CONTEXT, **settings}
    return children.load(host, path, window_tokens, **wanted)


def prompts(host: Host) -> tuple[np.ndarray, ...]:
    texts = ("Once upon a time", "Translate: cat", "3 + 4 =", "red blue green", "def f(x):")
    return ENCODE.ask(host, Texts(texts=texts, begins=True))


def answer(
    host: Host,
    ids: tuple[np.ndarray, ...],
    most: int,
    batch_size: int,
    stops: Sequence[tuple[str, ...]] | None = None,
) -> Answers:
    until = stops or [()] * len(ids)
    asked = tuple(
        Prompt(ids=one, max_tokens=most, stops=own) for one, own in zip(ids, until, strict=True)
    )
    return ANSWER.ask(host, Batch(prompts=asked, batch_size=batch_size))
