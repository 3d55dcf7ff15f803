"""A reference and an artifact of it, to be scored with logits and without."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.runtimes.base import LoadSettings, Runtime
from qgate.runtimes.fake.adapter import Fake
from qgate.runtimes.worker.logprob_scoring import TopKScorer
from qgate.runtimes.worker.reference_logits import Stored
from qgate.runtimes.worker.scoring import Scorer, ScoreRequest
from tests.conftest import Toy, write_toy
from tests.runtimes.worker.logprob_runtimes import TopKFake

if TYPE_CHECKING:
    from pathlib import Path

WINDOWS, TOKENS, STRIDE = 6, 40, 3
VOCABULARY = 600
"""More than the tokens that are compared or searched."""


def silent(*_: object) -> None: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    reference: Path
    artifact: Path
    directory: Path
    windows: np.ndarray

    def stored(self, encoding: Any) -> Stored:
        array = str(self.directory / f"{encoding}.npy")
        return Stored(encoding=encoding, array=array, stride=STRIDE, matrix=None)

    def request(self, stored: Stored | None, kept: dict[str, Any] | None = None) -> ScoreRequest:
        return ScoreRequest(
            windows=self.windows,
            first=TOKENS // 2,
            stored=stored,
            anchors=None if kept is None else kept["anchors"],
            tops=None if kept is None else kept["tops"],
        )


def make_scene(directory: Path) -> Scene:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    drawn = np.random.default_rng(5).integers(3, VOCABULARY, (WINDOWS, TOKENS))
    return Scene(
        reference=write_toy(directory / "o.gguf", Toy(scheme="F32", vocabulary=VOCABULARY)),
        artifact=write_toy(directory / "a.gguf", Toy(noise=0.1, vocabulary=VOCABULARY)),
        directory=directory,
        windows=drawn.astype(np.int32),
    )


def loaded(runtime: Runtime, path: Path) -> Any:
    runtime.load(LoadSettings(path=str(path), window_tokens=TOKENS))
    return runtime


def with_logits(path: Path, request: ScoreRequest) -> dict[str, Any]:
    return Scorer(loaded(Fake(), path), request).score(silent)


def without(path: Path, request: ScoreRequest, **how: Any) -> dict[str, Any]:
    return TopKScorer(loaded(TopKFake(**how), path), VOCABULARY, request).score(silent)
