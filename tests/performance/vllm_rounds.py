"""Times scoring through the adapter and bare `LLM.generate`, in turn, in one engine. A script.

    vllm-env/bin/python tests/performance/vllm_rounds.py MODEL ROUNDS

Run by `test_scoring_vllm` under the interpreter that has vLLM; prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from qgate.runtimes.base import LoadSettings, Sampling
from qgate.runtimes.vllm.adapter import Vllm
from qgate.runtimes.worker.logprob_scoring import TopKScorer
from qgate.runtimes.worker.prompt_logprobs import SEARCHED
from qgate.runtimes.worker.reference_logits import Stored
from qgate.runtimes.worker.scoring import ScoreRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

WINDOWS, TOKENS = 64, 256


def silent(*_: object) -> None: ...


def main(model: str, rounds: int, answers: int) -> None:
    """Write, of each kind of scoring, seconds of both for every round."""
    adapter = Vllm()
    facts = adapter.load(LoadSettings(path=model, window_tokens=TOKENS, context_tokens=TOKENS))
    sampling = Sampling(sequences=WINDOWS, tokens=TOKENS, seed=1)
    windows = adapter.sample(sampling, silent)
    with tempfile.TemporaryDirectory() as directory:
        kinds = {
            "likelihoods": (request(windows, None, None), 0),
            "divergences": (against_itself(adapter, windows, directory, facts.n_vocab), SEARCHED),
        }
        found: dict[str, Any] = {}
        for name, (asked, top) in kinds.items():
            ours = lambda: TopKScorer(adapter, facts.n_vocab, asked).score(silent)  # noqa: B023, E731
            theirs = lambda: bare(adapter, windows, top)  # noqa: B023, E731
            for once in (ours, theirs):
                once()
            found[name] = [[seconds(ours), seconds(theirs)] for _ in range(rounds)]
    os.write(answers, json.dumps(found).encode() + b"\n")


def request(windows: np.ndarray, stored: Stored | None, kept: Any) -> ScoreRequest:
    return ScoreRequest(
        windows=windows,
        first=TOKENS // 2,
        stored=stored,
        anchors=None if kept is None else kept["anchors"],
        tops=None if kept is None else kept["tops"],
    )


def against_itself(
    adapter: Vllm, windows: np.ndarray, directory: str, n_vocab: int
) -> ScoreRequest:
    array = str(Path(directory) / "kept.npy")
    stored = Stored(encoding="top_k", array=array, stride=2, matrix=None)
    kept = TopKScorer(adapter, n_vocab, request(windows, stored, None)).score(silent)
    return request(windows, stored, kept)


def bare(adapter: Vllm, windows: np.ndarray, top: int) -> None:
    """The very requests that the adapter makes, as vLLM's users make them."""
    from vllm import SamplingParams

    parameters = SamplingParams(
        temperature=0.0,
        max_tokens=1,
        prompt_logprobs=top,
        flat_logprobs=True,
        detokenize=False,
    )
    prompts = [{"prompt_token_ids": window.tolist()} for window in windows]
    outputs = adapter._engine.llm.generate(prompts, parameters, use_tqdm=False)
    assert len(outputs) == len(windows)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    answers = os.dup(1)
    os.dup2(2, 1)  # libraries print what they like
    main(sys.argv[1], int(sys.argv[2]), answers)
