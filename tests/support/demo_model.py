"""The demo model in llama.cpp, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qgate.runtimes.base import LoadSettings, Prompt
from qgate.runtimes.llama_cpp.adapter import LlamaCpp

if TYPE_CHECKING:
    from pathlib import Path


def load(path: Path) -> LlamaCpp:
    model = LlamaCpp()
    model.load(LoadSettings(path=str(path), window_tokens=512))
    return model


def logits_of(model: LlamaCpp, ids: np.ndarray) -> np.ndarray:
    """After every token, shape (len(ids), vocabulary)."""
    parts = model.logits_of_windows(ids[None], 0, with_hidden=False)
    return np.concatenate([logits[0].copy() for logits, _ in parts])


def answer(model: LlamaCpp, prompt: str) -> str:
    """The first line of the greedy continuation."""
    asked = Prompt(ids=model.encode(prompt, begins=True), max_tokens=40)
    (given,) = model.answer([asked], 1, lambda *_: None)
    return (model.decode(given.ids).strip().splitlines() or [""])[0]
