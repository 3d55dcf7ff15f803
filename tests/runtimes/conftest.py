"""Models in every adapter: the fake on a toy, llama.cpp on stories260K and on the demo's model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate import runtimes
from qgate.demo.__main__ import model_directory
from qgate.demo.convert import convert
from qgate.runtimes.base import Answer, LoadSettings, ModelFacts, Prompt, Runtime, Sampling, Span
from qgate.runtimes.scoring import Scorer, ScoreRequest
from tests.conftest import Toy, write_toy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TOKENS = 64


@dataclass(frozen=True, kw_only=True)
class Served:
    runtime: Runtime
    facts: ModelFacts
    path: Path
    name: str

    def ids(self, seed: int, count: int = TOKENS) -> np.ndarray:
        drawn = np.random.default_rng(seed).integers(3, self.facts.n_vocab, count)
        return drawn.astype(np.int32)

    def sample(self, sequences: int, tokens: int, seed: int) -> np.ndarray:
        return self.runtime.sample(
            Sampling(sequences=sequences, tokens=tokens, seed=seed), lambda *_: None
        )

    def score(self, windows: np.ndarray) -> dict[str, Any]:
        request = ScoreRequest(
            windows=windows, first=TOKENS // 2, stored=None, anchors=None, tops=None
        )
        return Scorer(self.runtime, request).score(lambda *_: None)

    def rows(self, spans: list[Span]) -> np.ndarray:
        """All rows of `logits_of_spans`, whichever parts they come in."""
        return np.concatenate([part.copy() for part in self.runtime.logits_of_spans(spans)])

    def answer(self, prompts: list[Prompt], side_by_side: int = 1) -> list[Answer]:
        return self.runtime.answer(prompts, side_by_side, lambda *_: None)

    def say(self, ids: np.ndarray, count: int) -> list[int]:
        """What greedy decoding says, whatever it means."""
        return list(self.runtime.stream(ids, count))


@pytest.fixture
def models(request: pytest.FixtureRequest) -> dict[str, Callable[[], Path]]:
    return {
        "fake": lambda: request.getfixturevalue("toys")() / "original.gguf",
        "llama_cpp": lambda: request.getfixturevalue("stories") / "stories260K-f16.gguf",
    }


def open_model(name: str, path: Path, window_tokens: int = TOKENS) -> Served:
    runtime = runtimes.make(name)
    facts = runtime.load(LoadSettings(path=str(path), window_tokens=window_tokens, threads=1))
    return Served(runtime=runtime, facts=facts, path=path, name=name)


@pytest.fixture(params=["fake", "llama_cpp"])
def served(
    request: pytest.FixtureRequest, models: dict[str, Callable[[], Path]]
) -> Iterator[Served]:
    served = open_model(request.param, models[request.param]())
    yield served
    served.runtime.close()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model that comes with the package, in 16 bits: its tokenizer is byte-level BPE."""
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    path = tmp_path_factory.mktemp("demo") / "demo-F16.gguf"
    convert(model_directory(), path)
    return path


@pytest.fixture(params=["fake", "stories260K", "demo"])
def speaking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A model of each kind of tokenizer: bytes, SentencePiece, byte-level BPE."""
    if request.param == "fake":
        pytest.importorskip("gguf")
        toy = write_toy(tmp_path / "bytes.gguf", Toy(scheme="F32", vocabulary=256))
        served = open_model("fake", toy)
    elif request.param == "demo":
        served = open_model("llama_cpp", request.getfixturevalue("demo"))
    else:
        stories: Path = request.getfixturevalue("stories")
        served = open_model("llama_cpp", stories / "stories260K-f16.gguf")
    yield served
    served.runtime.close()


def declare_end(path: Path, token: int, directory: Path) -> Path:
    """A copy of a model whose file says that this token ends a text."""
    import gguf

    copy = directory / f"{path.stem}-ends-at-{token}.gguf"
    copy.write_bytes(path.read_bytes())
    reader = gguf.GGUFReader(copy, "r+")
    field = reader.fields["tokenizer.ggml.eos_token_id"]
    field.parts[field.data[0]][0] = token
    reader.data.flush()
    return copy
