"""What every adapter promises, asked of its real child: the one suite that vLLM is held to as well.

`test_contract.py` looks further into those that give whole logits in this process. vLLM takes part
where it is: QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/runtimes -m vllm
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.artifacts.digest import window_digests
from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.ragged import from_flat, to_flat
from tests.conftest import Toy, write_toy
from tests.runtimes.conftest import cut_short
from tests.support.vllm_environment import python_with_vllm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

WINDOWS, TOKENS = 6, 96
HALF = TOKENS // 2
NEAR_ON_A_GPU_NATS = 0.05
"""16 bits there: a logit of 16 is a multiple of 1/64."""


def toy(request: pytest.FixtureRequest) -> Path:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    factory: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
    return write_toy(factory.mktemp("toy") / "toy.gguf", Toy(scheme="F32"))


def demo_gguf(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue("demo")
    return found


def demo_hf(_: pytest.FixtureRequest) -> Path:
    pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")
    return model_directory()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """An adapter, and the model that its child serves."""

    find: Callable[[pytest.FixtureRequest], Path]
    python: Callable[[], str] = lambda: sys.executable
    near_nats: float = 0.0
    """What other sequences in the same call may move one token's likelihood by; 0: no bit."""


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "fake": Kind(find=toy),
        "llama_cpp": Kind(find=demo_gguf),
        "transformers": Kind(find=demo_hf, near_nats=1e-4),
        "vllm": Kind(find=lambda _: model_directory(), python=python_with_vllm, near_nats=1e-4),
    }
)


@dataclass(frozen=True, kw_only=True)
class Child:
    """A real child with its model loaded."""

    host: Host
    path: Path
    n_vocab: int
    near_nats: float

    def windows(self, count: int = WINDOWS) -> np.ndarray:
        drawn = np.random.default_rng(0).integers(5, self.n_vocab, (count, TOKENS))
        return drawn.astype(np.int32)

    def score(self, windows: np.ndarray) -> dict[str, Any]:
        kept = {"stored": None, "anchors": None, "tops": None}
        return self.host.call("score", windows=windows, first=HALF, **kept)

    def answer(self, prompts: list[np.ndarray], side_by_side: int) -> dict[str, Any]:
        return self.host.call(
            "answer",
            ids=to_flat(prompts, "<i4"),
            max_tokens=np.full(len(prompts), 12, dtype=np.int32),
            side_by_side=side_by_side,
        )

    def is_near(self, one: np.ndarray, other: np.ndarray) -> bool:
        return one.shape == other.shape and bool((np.abs(one - other) <= self.near_nats).all())


def named(name: str) -> Any:
    """vLLM is left to those who ask for it: a start takes half a minute."""
    marks = [pytest.mark.vllm, pytest.mark.slow] if name == "vllm" else []
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module", params=map(named, KINDS))
def child(request: pytest.FixtureRequest) -> Iterator[Child]:
    kind = KINDS[request.param]
    path = kind.find(request)
    with Host(HostSettings(runtime=request.param, python=kind.python())) as host:
        facts = host.call("load", path=str(path), window_tokens=TOKENS, threads=1)
        on_cpu = host.call("describe")["device"] == "cpu"
        near = kind.near_nats if on_cpu else NEAR_ON_A_GPU_NATS
        yield Child(host=host, path=path, n_vocab=facts["n_vocab"], near_nats=near)


def test_as_many_likelihoods_as_were_asked_for_in_their_order(child: Child) -> None:
    windows = child.windows()

    scored = child.score(windows)

    assert scored["nll_nats"].shape == (WINDOWS * (TOKENS - 1 - HALF),)
    assert scored["nll_nats"].dtype == np.float64
    assert np.isfinite(scored["nll_nats"]).all()
    assert scored["digests"] == window_digests(windows)
    rows = scored["nll_nats"].reshape(WINDOWS, -1)
    backwards = child.score(windows[::-1])["nll_nats"].reshape(WINDOWS, -1)
    assert child.is_near(backwards[::-1], rows)
    assert not child.is_near(rows[0], rows[1])


def test_a_batch_of_one_is_as_many(child: Child) -> None:
    windows = child.windows()
    together = child.score(windows)["nll_nats"]

    alone = [child.score(windows[number : number + 1])["nll_nats"] for number in range(WINDOWS)]

    assert child.is_near(np.concatenate(alone), together)


def test_the_same_ids_have_the_same_likelihood_whichever_way_they_are_asked(child: Child) -> None:
    windows = child.windows(3)
    whole = child.score(windows)["nll_nats"].reshape(3, -1)

    spans = child.host.call(
        "score_spans", ids=to_flat([*windows], "<i4"), firsts=np.full(3, HALF, dtype=np.int32)
    )

    # llama.cpp picks kernels by the tokens of a call, and these round differently
    assert np.stack(from_flat(spans["nll_nats"])) == pytest.approx(whole, abs=0.02)


def test_greedy_answers_repeat_themselves_one_for_each_prompt(child: Child) -> None:
    prompts = [window[: 8 + number] for number, window in enumerate(child.windows())]

    once = child.answer(prompts, side_by_side=1)
    again = child.answer(prompts, side_by_side=1)

    assert len(once["texts"]) == len(once["ends"]) == len(prompts)
    assert again["answers"]["flat"].tobytes() == once["answers"]["flat"].tobytes()
    assert (again["texts"], again["ends"].tolist()) == (once["texts"], once["ends"].tolist())
    assert all(len(one) <= 12 for one in from_flat(once["answers"]))


def test_a_file_that_is_cut_short_is_the_artifacts_fault_in_one_line(
    child: Child, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError) as caught:
        child.host.call("load", path=str(cut_short(child.path, tmp_path)), window_tokens=TOKENS)

    assert "\n" not in str(caught.value)
