r"""How fast transformers scores: qgate's child's loop against lm-eval's `hf` model, in one process.

    pytest tests/performance/test_scoring_transformers.py -m slow --benchmark-json=scoring.json

Both hold the same random model in float32, get the same token ids and as many threads, in turns.
`windows`: the second half of windows of 512 tokens, as `perplexity.*` scores them. `choices`: a few
tokens behind prompts of any length, as a task does. lm-eval's batch size is the best of those that
are tried first. Quote `throughput_over_lm_eval`, the median of the ratios: single times are noise.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.runtimes.base import LoadSettings, Span
from qgate.runtimes.transformers.adapter import Transformers
from qgate.runtimes.worker.scoring import Scorer, ScoreRequest
from qgate.runtimes.worker.spans import score_spans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow
for package in ("transformers", "lm_eval"):
    pytest.importorskip(package, reason=f"compares with lm-eval: {package} is not installed")

WINDOW_TOKENS = 512
THREADS = 2
ROUNDS = 7
BATCH_SIZES = (1, 4, 16)
SHAPES = {
    "20MB": {"hidden_size": 256, "intermediate_size": 768, "vocab_size": 12_288},
    "128k-vocabulary": {"hidden_size": 512, "intermediate_size": 1536, "vocab_size": 128_256},
}


@pytest.fixture(params=SHAPES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = SHAPES[request.param]
    torch.manual_seed(0)
    heads = shape["hidden_size"] // 64
    config = LlamaConfig(
        **shape, num_hidden_layers=4, num_attention_heads=heads, num_key_value_heads=heads // 2
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((model_directory() / name).read_bytes())
    return tmp_path


@dataclass(frozen=True, kw_only=True)
class Work:
    """The same sequences for both sides; each returns the likelihood of each in nats."""

    spans: list[Span]

    def ours(self, runtime: Transformers) -> np.ndarray:
        if len({(len(span.ids), span.first) for span in self.spans}) > 1:
            found = score_spans(runtime, self.spans, lambda *_: None)
            return np.array([-nll.sum() for nll in found.nll_nats])
        windows = np.stack([span.ids for span in self.spans])
        request = ScoreRequest(windows=windows, first=self.spans[0].first)
        scored = Scorer(runtime, request).score(lambda *_: None)
        return -scored["nll_nats"].reshape(len(windows), -1).sum(axis=1)

    def theirs(self, peer: Any, batch_size: int) -> np.ndarray:
        requests = [
            (
                ("", str(number)),
                span.ids[: span.first + 1].tolist(),
                span.ids[span.first + 1 :].tolist(),
            )
            for number, span in enumerate(self.spans)
        ]
        found = peer._loglikelihood_tokens(requests, disable_tqdm=True, override_bs=batch_size)
        return np.array([likelihood for likelihood, _ in found])


def windows(n_vocab: int) -> Work:
    count = 16 if n_vocab < 100_000 else 6
    ids = np.random.default_rng(0).integers(5, n_vocab, (count, WINDOW_TOKENS)).astype(np.int32)
    return Work(spans=[Span(ids=one, first=WINDOW_TOKENS // 2) for one in ids])


def choices(n_vocab: int) -> Work:
    """Four endings of each prompt, neighbours as they come in a task."""
    rng = np.random.default_rng(0)
    spans = []
    for _ in range(24 if n_vocab < 100_000 else 10):
        prompt = rng.integers(5, n_vocab, rng.integers(20, 200))
        for _ in range(4):
            ending = rng.integers(5, n_vocab, rng.integers(1, 12))
            ids = np.concatenate([prompt, ending]).astype(np.int32)
            spans.append(Span(ids=ids, first=len(prompt) - 1))
    return Work(spans=spans)


def seconds(work: Any, *arguments: Any) -> float:
    started = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - started


@pytest.mark.parametrize("make", [windows, choices])
@pytest.mark.filterwarnings("ignore")
def test_scoring_is_at_least_as_fast_as_lm_evals(benchmark: Any, model: Path, make: Any) -> None:
    from lm_eval.models.huggingface import HFLM

    runtime = Transformers()
    facts = runtime.load(
        LoadSettings(path=str(model), window_tokens=WINDOW_TOKENS, threads=THREADS)
    )
    peer = HFLM(pretrained=str(model), device="cpu", dtype="float32", max_length=WINDOW_TOKENS)
    work = make(facts.n_vocab)
    assert work.ours(runtime) == pytest.approx(work.theirs(peer, 4), rel=1e-4)
    best = min(BATCH_SIZES, key=lambda size: seconds(work.theirs, peer, size))
    tokens = sum(len(span.ids) for span in work.spans)
    ours: list[float] = []
    theirs: list[float] = []

    def one_turn() -> None:
        sides: Sequence[Any] = [
            lambda: ours.append(seconds(work.ours, runtime)),
            lambda: theirs.append(seconds(work.theirs, peer, best)),
        ]
        for side in sides if len(ours) % 2 else sides[::-1]:
            side()

    benchmark.pedantic(one_turn, rounds=ROUNDS, iterations=1)
    ratio = statistics.median(np.divide(theirs, ours))
    benchmark.extra_info |= {
        "tokens_per_s": tokens / statistics.median(ours),
        "lm_eval_tokens_per_s": tokens / statistics.median(theirs),
        "lm_eval_batch_size": best,
        "throughput_over_lm_eval": ratio,
    }
    runtime.close()
    assert ratio >= 1.0
