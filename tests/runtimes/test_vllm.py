r"""vLLM through a real child, on the demo's model, beside transformers and llama.cpp.

QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/runtimes/test_vllm.py -m vllm
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError, MeasurementError, RuntimeUnavailable
from qgate.measure.perplexity import MIN_COVERED_MASS
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.ragged import from_flat, to_flat
from qgate.runtimes.stops import cut
from tests.runtimes.conftest import open_model
from tests.runtimes.vllm_served import CONTEXT, copy_of_demo, python_with_vllm, rewrite

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

SEQUENCES, TOKENS = 12, 192
ENDS = (1, 4)
"""End of text and end of a turn, by the model's generation_config.json."""
NEAR_NATS = 2e-3
"""Of one token's log-likelihood in two libraries, both computing in 32 bits."""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with Host(HostSettings(runtime="vllm", python=python_with_vllm())) as host:
        yield host


def load(host: Host, path: Path, **settings: Any) -> dict[str, Any]:
    wanted = {"window_tokens": TOKENS, "context_tokens": CONTEXT, **settings}
    return host.call("load", path=str(path), **wanted)


@pytest.fixture
def served(host: Host) -> Host:
    """The child with the demo's model; loaded once, unless a test loaded another."""
    load(host, model_directory())
    return host


@pytest.fixture(scope="module")
def windows(host: Host) -> np.ndarray:
    """Text of the model's own."""
    load(host, model_directory())
    sampled = host.call("sample", sequences=SEQUENCES, tokens=TOKENS, seed=3)
    return np.asarray(sampled["windows"])


def score(host: Host, windows: np.ndarray, **kept: Any) -> dict[str, Any]:
    settings = {"stored": None, "anchors": None, "tops": None, **kept}
    return host.call("score", windows=windows, first=TOKENS // 2, **settings)


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


def test_it_says_what_it_is(served: Host) -> None:
    described = served.call("describe")

    assert described["name"] == "vllm"
    assert described["device"] in ("cpu", "gpu")
    assert described["build"].startswith("torch ")
    assert described["kernel"] == ""


def test_it_says_what_it_loaded(host: Host) -> None:
    facts = load(host, model_directory())

    assert (facts["n_vocab"], facts["width"], facts["context_length"]) == (1792, 256, CONTEXT)
    assert (facts["bos"], facts["first_token"], facts["adds_bos"]) == (0, 0, True)
    assert tuple(facts["end_tokens"]) == ENDS
    assert facts["scoring"] == "top_k"
    assert facts["kernel"] == "UnquantizedLinearMethod"
    tensors = (model_directory() / "model.safetensors").stat().st_size
    assert facts["n_params"] == pytest.approx(tensors / 2, rel=2e-3)
    # the file's 16 bits, also where the adapter widens them
    assert facts["weights_bytes"] == 2 * facts["n_params"]


def test_likelihoods_are_those_of_transformers(served: Host, windows: np.ndarray) -> None:
    logprobs = torch_logprobs(model_directory(), windows)
    targets = windows[:, TOKENS // 2 + 1 :, None]
    wanted = -np.take_along_axis(logprobs, targets, axis=-1).reshape(-1)

    found = score(served, windows)["nll_nats"]

    assert np.abs(found - wanted).max() < NEAR_NATS
    assert found.mean() == pytest.approx(wanted.mean(), abs=1e-4)


def test_perplexity_is_that_of_llama_cpp_to_three_digits(
    served: Host, windows: np.ndarray, demo: Path
) -> None:
    llama = open_model("llama_cpp", demo, TOKENS)
    from qgate.runtimes.scoring import Scorer, ScoreRequest

    request = ScoreRequest(windows=windows, first=TOKENS // 2, stored=None, anchors=None, tops=None)
    theirs = np.exp(Scorer(llama.runtime, request).score(lambda *_: None)["nll_nats"].mean())
    llama.runtime.close()

    ours = np.exp(score(served, windows)["nll_nats"].mean())

    assert ours == pytest.approx(theirs, rel=5e-4)


def test_a_batch_of_one_is_as_many(served: Host, windows: np.ndarray) -> None:
    together = score(served, windows)["nll_nats"].reshape(SEQUENCES, -1)
    backwards = score(served, windows[::-1])["nll_nats"].reshape(SEQUENCES, -1)[::-1]
    alone = [score(served, windows[number : number + 1])["nll_nats"] for number in range(4)]

    assert np.abs(together[:4] - np.stack(alone)).max() < 1e-4
    assert np.abs(together - backwards).max() < 1e-4


def test_spans_score_as_windows_do(served: Host, windows: np.ndarray) -> None:
    first = TOKENS // 2
    scored = served.call(
        "score_spans",
        ids=to_flat([*windows[:3], windows[3, :9]], "<i4"),
        firsts=np.array([first, first, first, 0], dtype=np.int32),
    )

    nll, tops = from_flat(scored["nll_nats"]), from_flat(scored["is_top"])
    whole = score(served, windows[:3])["nll_nats"].reshape(3, -1)
    assert [len(one) for one in nll] == [len(one) for one in tops] == [TOKENS - 1 - first] * 3 + [8]
    assert np.abs(np.stack(nll[:3]) - whole).max() < 1e-4
    ranked_first = torch_logprobs(model_directory(), windows[:3]).argmax(axis=-1)
    agree = np.stack(tops[:3]) == (ranked_first == windows[:3, first + 1 :])
    assert agree.mean() > 0.99


def test_the_divergence_is_below_and_near_that_of_all_tokens(
    served: Host, windows: np.ndarray, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    noisy = rewrite(
        copy_of_demo(tmp_path / "noisy"),
        lambda tensors: {
            name: (value + rng.normal(0, 0.02, value.shape)).astype(value.dtype)
            for name, value in tensors.items()
        },
    )
    stored = {"encoding": "top_k", "array": str(tmp_path / "k.npy"), "stride": 2, "matrix": None}
    kept = score(served, windows, stored=stored)
    load(served, noisy)
    found = score(served, windows, stored=stored, anchors=kept["anchors"], tops=kept["tops"])

    p = torch_logprobs(model_directory(), windows)[:, ::2].reshape(-1, 1792)
    q = torch_logprobs(noisy, windows)[:, ::2].reshape(-1, 1792)
    whole = (np.exp(p) * (p - q)).sum(axis=1)
    assert np.abs(kept["kl_nats"]).mean() < 1e-6
    assert kept["covered_mass"].mean() > 0.99
    assert found["covered_mass"].mean() > 0.99 > MIN_COVERED_MASS
    assert (found["kl_nats"] <= whole + 1e-3).all()
    assert found["kl_nats"].mean() == pytest.approx(whole.mean(), rel=0.05)
    assert found["kl_nats"].mean() > 0.005
    assert (found["same_top"] == (p.argmax(axis=1) == q.argmax(axis=1))).mean() > 0.99


def test_greedy_answers_are_repeatable_and_exactly_as_many(served: Host) -> None:
    ids = prompts(served)

    once = answer(served, ids, 24, side_by_side=4)
    again = answer(served, ids, 24, side_by_side=4)
    alone = answer(served, ids, 24, side_by_side=1)

    for other in (again, alone):
        assert other["answers"]["flat"].tolist() == once["answers"]["flat"].tolist()
        assert other["ends"].tolist() == once["ends"].tolist()
        assert other["texts"] == once["texts"]
    said, margins = from_flat(once["answers"]), from_flat(once["margins_nats"])
    assert len(said) == len(once["texts"]) == len(ids)
    for one, end, leads in zip(said, once["ends"], margins, strict=True):
        assert len(one) == 24 or end in ENDS
        assert len(leads) == len(one) + (end != -1)
        assert not set(one.tolist()) & set(ENDS)
        assert (leads >= 0).all()


def test_an_answer_ends_where_the_model_says_so(served: Host, windows: np.ndarray) -> None:
    ended = [
        window[: int(np.flatnonzero(np.isin(window, ENDS))[0])]
        for window in windows
        if np.isin(window[1:], ENDS).any()
    ]
    found = answer(served, tuple(ended), 200, side_by_side=8)

    assert len(ended) > 0
    assert set(found["ends"].tolist()) & set(ENDS)


@pytest.mark.parametrize("side_by_side", [2, 16])
def test_an_answer_that_stops_is_the_beginning_of_the_whole_one_to_the_bit(
    served: Host, side_by_side: int
) -> None:
    """In groups that end early and in one that goes on for one of its prompts."""
    ids = prompts(served)
    whole = answer(served, ids, 48, side_by_side)
    texts = [str(text) for text in whole["texts"]]
    stops = [[text[14:17], text[4:6]] if len(text) > 24 else [] for text in texts]
    assert sum(map(bool, stops)) >= 3

    for until in (stops, [stops[0], [], *stops[2:]]):
        found = answer(served, ids, 48, side_by_side, stops=until)
        after = answer(served, ids, 48, side_by_side)

        for name in ("answers", "margins_nats"):
            assert after[name]["flat"].tobytes() == whole[name]["flat"].tobytes()
            for short, long, own in zip(
                from_flat(found[name]), from_flat(whole[name]), until, strict=True
            ):
                assert short.tobytes() == long[: len(short)].tobytes()
                assert (len(short) < len(long)) == bool(own)
        for told, text, own in zip(found["texts"], texts, until, strict=True):
            assert cut(told, own) == cut(text, own)


def test_streaming_says_what_answering_says(served: Host) -> None:
    ids = prompts(served)[0]
    answered = from_flat(answer(served, (ids,), 12, side_by_side=1)["answers"])[0]

    timed = served.call("time", ids=ids, count=40)["at_s"]

    assert len(answered) > 0
    assert timed.shape == (40,)
    assert (np.diff(timed) > 0).all()


def test_sampled_text_is_repeatable_and_as_long_as_asked(served: Host) -> None:
    draw = {"sequences": 5, "tokens": 48}
    once = served.call("sample", **draw, seed=7)["windows"]

    assert once.shape == (5, 48)
    assert (once[:, 0] == 0).all()
    assert (served.call("sample", **draw, seed=7)["windows"] == once).all()
    assert (served.call("sample", **draw, seed=8)["windows"] != once).any()
    assert len({row.tobytes() for row in once}) == 5


def test_tokens_are_those_of_llama_cpp(served: Host, demo: Path) -> None:
    llama = open_model("llama_cpp", demo)
    texts = ["Hello wörld, 日本 🙂\n\tend  ", "<|im_start|>user\nhi<|im_end|>", " x", ""]

    for text in texts:
        tokens, pieces = llama.runtime.tokenize(text)
        found = served.call("tokenize", text=text)
        assert found["ids"].tolist() == tokens.tolist()
        assert found["piece_bytes"].tolist() == pieces.tolist()
        for begins in (True, False):
            (ids,) = from_flat(served.call("encode", texts=[text], begins=[begins])["ids"])
            assert ids.tolist() == llama.runtime.encode(text, begins=begins).tolist()
    llama.runtime.close()


def test_memory_is_the_arithmetic_of_the_model(served: Host) -> None:
    found = served.call("fill_context", tokens=CONTEXT)["buffers"]

    layers, heads, size = 4, 2, 64
    assert found["context_tokens"] == CONTEXT
    assert found["kv_cache_bytes"] == CONTEXT * layers * 2 * heads * size * 2
    assert found["compute_bytes"] > CONTEXT * 256 * 4


def test_a_sequence_that_does_not_fit_is_refused_in_words(served: Host) -> None:
    with pytest.raises(MeasurementError, match="sequence too long: got 513 tokens"):
        served.call(
            "score_spans",
            ids=to_flat([np.full(CONTEXT + 1, 9, dtype=np.int32)], "<i4"),
            firsts=np.zeros(1, dtype=np.int32),
        )
    with pytest.raises(MeasurementError, match="vllm refuses a request: Token id 5000"):
        answer(served, (np.array([5000], dtype=np.int32),), 3, side_by_side=1)
    assert len(answer(served, prompts(served), 3, side_by_side=2)["texts"]) == 5


def test_a_whole_context_can_be_scored(served: Host) -> None:
    ids = np.random.default_rng(1).integers(5, 1792, CONTEXT).astype(np.int32)

    scored = served.call(
        "score_spans", ids=to_flat([ids], "<i4"), firsts=np.zeros(1, dtype=np.int32)
    )

    assert len(from_flat(scored["nll_nats"])[0]) == CONTEXT - 1


def test_an_unknown_scheme_is_refused_in_one_line(host: Host, tmp_path: Path) -> None:
    nf4 = copy_of_demo(
        tmp_path / "nf4",
        quantization_config={"quant_method": "nobody_knows", "load_in_4bit": True},
    )

    with pytest.raises(RuntimeUnavailable) as caught:
        load(host, nf4)

    message = str(caught.value)
    assert message.startswith(
        "vllm does not serve this artifact: Unknown quantization method: nobody_knows"
    )
    assert message.endswith("--qgate-runtime=transformers, or where vLLM has a GPU")
    assert len(message.splitlines()) == 1
    assert len(message) < 400


@pytest.mark.parametrize("name", ["mlp.down_proj", "self_attn.k_proj"])
def test_a_missing_tensor_is_refused(host: Host, tmp_path: Path, name: str) -> None:
    missing = f"model.layers.1.{name}.weight"
    holed = rewrite(
        copy_of_demo(tmp_path / "holed"),
        lambda tensors: {key: value for key, value in tensors.items() if key != missing},
    )

    with pytest.raises(ArtifactError, match=r"vllm refuses the model: .*layers\.1"):
        load(host, holed)


def test_weights_that_are_no_numbers_are_refused(host: Host, tmp_path: Path) -> None:
    def spoil(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors["model.layers.2.mlp.up_proj.weight"][3, 3] = np.nan
        return tensors

    with pytest.raises(ArtifactError, match=r"no numbers: model\.layers\.2\.mlp\.gate_up_proj"):
        load(host, rewrite(copy_of_demo(tmp_path / "nan"), spoil))


def test_it_loads_the_files_that_the_integrity_rows_look_at(host: Host, tmp_path: Path) -> None:
    def damage(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: np.zeros_like(value) for name, value in tensors.items()}

    sound, other = copy_of_demo(tmp_path / "sound"), copy_of_demo(tmp_path / "other")
    rewrite(other, damage)
    ids = np.arange(5, 5 + TOKENS, dtype=np.int32)[None]
    load(host, sound)
    wanted = score(host, ids)["nll_nats"]

    (other / "model.safetensors").rename(sound / "zeros.safetensors")
    load(host, sound)
    assert np.array_equal(score(host, ids)["nll_nats"], wanted)

    tensors = ["model.embed_tokens.weight"]
    index = {"weight_map": dict.fromkeys(tensors, "zeros.safetensors")}
    (sound / "model.safetensors.index.json").write_text(json.dumps(index))
    load(host, sound)
    assert np.array_equal(score(host, ids)["nll_nats"], wanted)


def test_quantizing_while_loading_is_refused(host: Host) -> None:
    with pytest.raises(RuntimeUnavailable, match=r"got 'bitsandbytes' in qgate\.yaml"):
        load(host, model_directory(), quantize={"method": "bitsandbytes"})


def test_code_in_the_artifact_is_not_run(host: Host, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    hostile = copy_of_demo(
        tmp_path / "hostile",
        model_type="mine",
        architectures=["Mine"],
        auto_map={"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Mine"},
    )
    (hostile / "mine.py").write_text(f"open({str(mark)!r}, 'w').close()\n")

    with pytest.raises((ArtifactError, RuntimeUnavailable)):
        load(host, hostile)

    assert not mark.exists()


def test_nothing_outlives_the_child() -> None:
    with Host(HostSettings(runtime="vllm", python=python_with_vllm())) as host:
        load(host, model_directory(), window_tokens=64, context_tokens=64)
        session = host.pid
        assert session in _sessions()

    assert session not in _sessions()


def _sessions() -> set[int]:
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            found.add(os.getsid(int(path.parent.name)))
        except (ProcessLookupError, PermissionError):
            continue
    return found
