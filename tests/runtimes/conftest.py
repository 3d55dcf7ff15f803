"""Every adapter on a model: one row of `KINDS` each, and the contract suite runs over it.

And what several files of tests open, start or are served by.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate import runtimes
from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert
from qgate.runtimes.base import (
    Answer,
    LoadSettings,
    LogitsScorer,
    ModelFacts,
    Prompt,
    Runtime,
    Sampling,
    Span,
    TextSource,
)
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.worker.scoring import Scorer, ScoreRequest
from tests.conftest import Toy, write_toy
from tests.runtimes.openai_server.faulty_server import Planted, serving, write_model
from tests.runtimes.worker.reference_and_artifact import Scene, make_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

TOKENS = 64
PACKED = 0.1
"""Beside other sequences llama.cpp takes other kernels: 0.04 was measured in 16 bits, where logits
have a standard deviation of 10."""


def gguf_matrix(path: Path) -> np.ndarray:
    import gguf

    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    found = tensors.get("output.weight") or tensors["token_embd.weight"]
    return np.asarray(found.data).astype(np.float64)


def hf_matrix(path: Path) -> np.ndarray:
    """Of a model whose output matrix is its embedding."""
    from safetensors.numpy import load_file

    return load_file(path / "model.safetensors")["model.embed_tokens.weight"].astype(np.float64)


def gguf_that_ends(path: Path, token: int, directory: Path) -> Path:
    """A copy of a model whose file says that this token ends a text."""
    import gguf

    copy = directory / f"{path.stem}-ends-at-{token}.gguf"
    copy.write_bytes(path.read_bytes())
    reader = gguf.GGUFReader(copy, "r+")
    field = reader.fields["tokenizer.ggml.eos_token_id"]
    field.parts[field.data[0]][0] = token
    reader.data.flush()
    return copy


def hf_that_ends(path: Path, token: int, directory: Path) -> Path:
    copy = directory / f"{path.name}-ends-at-{token}"
    shutil.copytree(path, copy)
    for name in ("config.json", "generation_config.json"):
        said = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({**said, "eos_token_id": token}))
    return copy


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An adapter and the model that it is held to the contract with."""

    find: Callable[[pytest.FixtureRequest], Path]
    """The model; skips where it or the library is not here."""
    matrix: Callable[[Path], np.ndarray] = gguf_matrix
    """Its output matrix, shape (n_vocab, width), read from its files."""
    that_ends: Callable[[Path, int, Path], Path] = gguf_that_ends
    first_token: int = 1
    widening: int = 1
    """How many times its files' bytes the weights take when they are loaded."""
    rounding: float = 0.0
    """What other sequences in the same call may move a logit by; 0: no bit."""


def _hf_demo(_: pytest.FixtureRequest) -> Path:
    pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")
    return model_directory()


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "fake": Kind(find=lambda request: request.getfixturevalue("toys")() / "original.gguf"),
        "llama_cpp": Kind(
            find=lambda request: request.getfixturevalue("stories") / "stories260K-f16.gguf"
        ),
        # float32: 4e-5 was measured, where logits have a standard deviation of 3
        "transformers": Kind(
            find=_hf_demo,
            matrix=hf_matrix,
            that_ends=hf_that_ends,
            first_token=0,
            widening=2,
            rounding=1e-3,
        ),
    }
)


@dataclass(frozen=True, kw_only=True)
class Served:
    runtime: Runtime
    facts: ModelFacts
    path: Path
    name: str

    @property
    def kind(self) -> Kind:
        return KINDS[self.name]

    def same(self, one: np.ndarray, other: np.ndarray) -> bool:
        """Whether these are the same numbers, as far as this runtime's calls are alike."""
        if self.kind.rounding == 0.0:
            return one.tobytes() == other.tobytes()
        return one.shape == other.shape and bool((np.abs(one - other) <= self.kind.rounding).all())

    def windows(self, windows: np.ndarray, first: int) -> np.ndarray:
        """All rows of `logits_of_windows`, whichever parts they come in."""
        found = self._scorer.logits_of_windows(windows, first, with_hidden=False)
        return _whole([part.copy() for part, _ in found], len(windows))

    def logits(self, ids: np.ndarray, first: int) -> np.ndarray:
        """Logits of one sequence, shape (n - first, n_vocab)."""
        rows: np.ndarray = self.windows(ids[None], first)[0]
        return rows

    @property
    def _scorer(self) -> LogitsScorer:
        assert isinstance(self.runtime, LogitsScorer)
        return self.runtime

    def hidden(self, ids: np.ndarray, first: int) -> tuple[np.ndarray, np.ndarray]:
        """Logits and hidden states of one sequence."""
        found = self._scorer.logits_of_windows(ids[None], first, with_hidden=True)
        parts = [(a.copy(), b.copy()) for a, b in found if b is not None]
        logits, states = zip(*parts, strict=True)
        return _whole(logits, 1)[0], _whole(states, 1)[0]

    def ids(self, seed: int, count: int = TOKENS) -> np.ndarray:
        drawn = np.random.default_rng(seed).integers(3, self.facts.n_vocab, count)
        return drawn.astype(np.int32)

    def sample(self, sequences: int, tokens: int, seed: int) -> np.ndarray:
        sampling = Sampling(sequences=sequences, tokens=tokens, seed=seed)
        assert isinstance(self.runtime, TextSource)
        return self.runtime.sample(sampling, lambda *_: None).ids

    def score(self, windows: np.ndarray) -> dict[str, Any]:
        request = ScoreRequest(windows=windows, first=TOKENS // 2)
        return Scorer(self._scorer, request).score(lambda *_: None)

    def rows(self, spans: list[Span]) -> np.ndarray:
        """All rows of `logits_of_spans`, whichever parts they come in."""
        return np.concatenate([part.copy() for part in self._scorer.logits_of_spans(spans)])

    def answer(self, prompts: list[Prompt], batch_size: int = 1) -> list[Answer]:
        return self.runtime.answer(prompts, batch_size, lambda *_: None)

    def say(self, ids: np.ndarray, count: int) -> list[int]:
        """What greedy decoding says, whatever it means."""
        return list(self.runtime.stream(ids, count))


def _whole(parts: Sequence[np.ndarray], count: int) -> np.ndarray:
    rows = np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])
    return rows.reshape(count, -1, rows.shape[-1])


def open_model(
    name: str, path: Path, window_tokens: int = TOKENS, quantize: dict[str, Any] | None = None
) -> Served:
    runtime = runtimes.make(name)
    settings = LoadSettings(
        path=str(path), window_tokens=window_tokens, threads=1, quantize=quantize
    )
    return Served(runtime=runtime, facts=runtime.load(settings), path=path, name=name)


def open_with(directory: Path, quantize: dict[str, Any] | None = None) -> Served:
    """A Hugging Face directory in transformers."""
    return open_model("transformers", directory, quantize=quantize)


def spans_of(served: Served, sizes: list[int], seed: int = 0) -> list[Span]:
    rng = np.random.default_rng(seed)
    return [
        Span(ids=served.ids(100 * seed + number, size), first=int(rng.integers(0, size - 1)))
        for number, size in enumerate(sizes)
    ]


def start(runtime: str = "fake", **settings: Any) -> Host:
    return Host(HostSettings(runtime=runtime, **settings))


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    served = open_model(request.param, KINDS[request.param].find(request))
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


@pytest.fixture(params=["fake", "stories260K", "demo", "stories260K-hf", "demo-hf"])
def speaking(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A model of each kind of tokenizer: bytes, SentencePiece, byte-level BPE."""
    if request.param == "fake":
        pytest.importorskip("gguf")
        toy = write_toy(tmp_path / "bytes.gguf", Toy(scheme="F32", vocabulary=256))
        served = open_model("fake", toy)
    elif request.param == "demo":
        served = open_model("llama_cpp", request.getfixturevalue("demo"))
    elif request.param.endswith("-hf"):
        served = open_model("transformers", find_hf(request.param, request))
    else:
        stories: Path = request.getfixturevalue("stories")
        served = open_model("llama_cpp", stories / "stories260K-f16.gguf")
    yield served
    served.runtime.close()


def find_hf(name: str, request: pytest.FixtureRequest) -> Path:
    """`demo-hf` or `stories260K-hf`: byte-level BPE or SentencePiece."""
    demo = _hf_demo(request)
    return demo if name == "demo-hf" else request.getfixturevalue("stories") / "hf"


@pytest.fixture
def toy() -> Iterator[Planted]:
    """A server that does what vLLM does."""
    with serving(Planted()) as planted:
        yield planted


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The directory of what that server has."""
    return write_model(tmp_path / "toy")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return make_scene(tmp_path)
