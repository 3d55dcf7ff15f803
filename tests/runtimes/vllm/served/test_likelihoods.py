r"""vLLM through a real child, on the demo's model, beside transformers and llama.cpp.

QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/runtimes/vllm/served -m vllm
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.artifacts import discover
from qgate.demo.__main__ import model_directory
from qgate.errors import MeasurementError
from qgate.measure.perplexity.rows import MIN_COVERED_MASS
from qgate.reference.output_matrix import find_output_matrix
from qgate.runtimes.base import Span
from qgate.runtimes.messages import Texts
from qgate.runtimes.verbs import ENCODE, FILL_CONTEXT, SCORE_SPANS, TOKENIZE
from qgate.runtimes.worker.reference_logits import Stored
from tests.runtimes.conftest import open_model
from tests.support.children import score, score_whole
from tests.support.vllm_environment import (
    CONTEXT,
    ENDS,
    TOKENS,
    answer,
    copy_of_demo,
    load,
    prompts,
    rewrite,
)

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.runtimes.host import Host
    from qgate.runtimes.worker.reference_logits import Encoding

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

NEAR_NATS = 2e-3
"""Of one token's log-likelihood in two libraries, both computing in 32 bits."""


def torch_logits(directory: Path, windows: np.ndarray) -> np.ndarray:
    torch = pytest.importorskip("torch", reason="needs transformers")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    model = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.from_numpy(windows.astype(np.int64))).logits.numpy()


def torch_logprobs(directory: Path, windows: np.ndarray) -> np.ndarray:
    """Of the whole vocabulary after the tokens that are scored."""
    logits = torch_logits(directory, windows)[:, TOKENS // 2 : -1]
    return log_softmax(logits.astype(np.float64), axis=-1)


def test_it_says_what_it_loaded(host: Host) -> None:
    facts = load(host, model_directory())

    assert (facts.n_vocab, facts.width, facts.context_length) == (1792, 256, CONTEXT)
    assert (facts.bos, facts.first_token, facts.adds_bos) == (0, 0, True)
    assert facts.end_tokens == ENDS
    assert facts.scoring == "whole"
    assert facts.kernel == "UnquantizedLinearMethod"
    tensors = (model_directory() / "model.safetensors").stat().st_size
    assert facts.n_params == pytest.approx(tensors / 2, rel=2e-3)
    # the file's 16 bits, also where the adapter widens them
    assert facts.weights_bytes == 2 * facts.n_params


def test_likelihoods_are_those_of_transformers(served: Host, windows: np.ndarray) -> None:
    logprobs = torch_logprobs(model_directory(), windows)
    targets = windows[:, TOKENS // 2 + 1 :, None]
    wanted = -np.take_along_axis(logprobs, targets, axis=-1).reshape(-1)

    found = score(served, windows).nll_nats

    assert np.abs(found - wanted).max() < NEAR_NATS
    assert found.mean() == pytest.approx(wanted.mean(), abs=1e-4)


def test_perplexity_is_that_of_llama_cpp_to_three_digits(
    served: Host, windows: np.ndarray, demo: Path
) -> None:
    llama = open_model("llama_cpp", demo, TOKENS)
    from qgate.runtimes.worker.scoring import Scorer, ScoreRequest

    request = ScoreRequest(windows=windows, first=TOKENS // 2)
    theirs = np.exp(Scorer(llama.runtime, request).score(lambda *_: None)["nll_nats"].mean())
    llama.runtime.close()

    ours = np.exp(score(served, windows).nll_nats.mean())

    assert ours == pytest.approx(theirs, rel=5e-4)


def test_spans_score_as_windows_do(served: Host, windows: np.ndarray) -> None:
    first = TOKENS // 2
    spans = [Span(ids=ids, first=first) for ids in windows[:3]]
    scored = SCORE_SPANS.ask(served, [*spans, Span(ids=windows[3, :9], first=0)])

    nll, tops = scored.nll_nats, scored.is_top
    whole = score(served, windows[:3]).nll_nats.reshape(3, -1)
    assert [len(one) for one in nll] == [len(one) for one in tops] == [TOKENS - 1 - first] * 3 + [8]
    assert np.abs(np.stack(nll[:3]) - whole).max() < 1e-4
    ranked_first = torch_logprobs(model_directory(), windows[:3]).argmax(axis=-1)
    agree = np.stack(tops[:3]) == (ranked_first == windows[:3, first + 1 :])
    assert agree.mean() > 0.99


@pytest.fixture
def noisy(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    return rewrite(
        copy_of_demo(tmp_path / "noisy"),
        lambda tensors: {
            name: (value + rng.normal(0, 0.02, value.shape)).astype(value.dtype)
            for name, value in tensors.items()
        },
    )


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What transformers says of the same windows: KL, and whether both rank one token first."""

    kl_nats: np.ndarray
    same_top: np.ndarray


def in_transformers(noisy: Path, windows: np.ndarray) -> Whole:
    p = torch_logprobs(model_directory(), windows)[:, ::2].reshape(-1, 1792)
    q = torch_logprobs(noisy, windows)[:, ::2].reshape(-1, 1792)
    kl = (np.exp(p) * (p - q)).sum(axis=1)
    return Whole(kl_nats=kl, same_top=p.argmax(axis=1) == q.argmax(axis=1))


def kept_as(encoding: Encoding, directory: Path, host: Host) -> Stored:
    facts = load(host, model_directory())
    (reference,) = discover([model_directory()])
    head = find_output_matrix(reference, facts) if encoding == "hidden" else None
    return Stored(encoding=encoding, array=str(directory / "kept.npy"), stride=2, matrix=head)


@pytest.mark.parametrize("encoding", ["hidden", "rows"])
def test_the_divergence_is_that_of_all_tokens(
    served: Host, windows: np.ndarray, tmp_path: Path, noisy: Path, encoding: Encoding
) -> None:
    stored = kept_as(encoding, tmp_path, served)
    kept = score(served, windows, stored=stored)
    load(served, noisy)
    found = score(served, windows, stored=stored, anchors=kept.anchors, tops=kept.tops)

    whole = in_transformers(noisy, windows)
    assert kept.why_partition == found.why_partition == ""
    assert found.covered_mass is None
    assert np.abs(kept.kl_nats).mean() < 1e-5
    assert np.abs(found.kl_nats - whole.kl_nats).max() < NEAR_NATS
    assert found.kl_nats.mean() == pytest.approx(whole.kl_nats.mean(), rel=2e-3)
    assert found.kl_nats.mean() > 0.005
    assert (found.same_top == whole.same_top).mean() > 0.99
    assert found.nll_nats == pytest.approx(score(served, windows).nll_nats, abs=1e-4)


def test_over_the_likeliest_tokens_the_divergence_is_below_and_near_that_of_all(
    served: Host, windows: np.ndarray, tmp_path: Path, noisy: Path
) -> None:
    stored = kept_as("top_k", tmp_path, served)
    kept = score(served, windows, stored=stored)
    load(served, noisy)
    found = score(served, windows, stored=stored, anchors=kept.anchors, tops=kept.tops)

    whole = in_transformers(noisy, windows)
    assert np.abs(kept.kl_nats).mean() < 1e-6
    assert kept.covered_mass.mean() > 0.99
    assert found.covered_mass.mean() > 0.99 > MIN_COVERED_MASS
    assert (found.kl_nats <= whole.kl_nats + 1e-3).all()
    assert found.kl_nats.mean() == pytest.approx(whole.kl_nats.mean(), rel=0.05)
    assert (found.same_top == whole.same_top).mean() > 0.99


def test_tokens_are_those_of_llama_cpp(served: Host, demo: Path) -> None:
    llama = open_model("llama_cpp", demo)
    texts = ["Hello wörld, 日本 🙂\n\tend  ", "<|im_start|>user\nhi<|im_end|>", " x", ""]

    for text in texts:
        tokens, pieces = llama.runtime.tokenize(text)
        found = TOKENIZE.ask(served, text)
        assert found.ids.tolist() == tokens.tolist()
        assert found.piece_bytes.tolist() == pieces.tolist()
        for begins in (True, False):
            (ids,) = ENCODE.ask(served, Texts(texts=(text,), begins=begins))
            assert ids.tolist() == llama.runtime.encode(text, begins=begins).tolist()
    llama.runtime.close()


def test_memory_is_the_arithmetic_of_the_model(served: Host) -> None:
    found = FILL_CONTEXT.ask(served, CONTEXT).buffers

    layers, heads, size = 4, 2, 64
    assert found.context_tokens == CONTEXT
    assert found.kv_cache_bytes == CONTEXT * layers * 2 * heads * size * 2
    assert found.compute_bytes > CONTEXT * 256 * 4


def test_a_sequence_that_does_not_fit_is_refused_in_words(served: Host) -> None:
    with pytest.raises(MeasurementError, match="sequence too long: got 513 tokens"):
        score_whole(served, [np.full(CONTEXT + 1, 9, dtype=np.int32)])
    with pytest.raises(MeasurementError, match="vllm refuses a request: Token id 5000"):
        answer(served, (np.array([5000], dtype=np.int32),), 3, batch_size=1)
    assert len(answer(served, prompts(served), 3, batch_size=2).texts) == 5


def test_a_whole_context_can_be_scored(served: Host) -> None:
    ids = np.random.default_rng(1).integers(5, 1792, CONTEXT).astype(np.int32)

    (nll,) = score_whole(served, [ids]).nll_nats

    assert len(nll) == CONTEXT - 1
