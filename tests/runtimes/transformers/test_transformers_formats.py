"""Quantized weights, made on the spot by their own libraries, from the demo's model."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import closing
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import log_softmax

from qgate.demo.__main__ import model_directory
from qgate.errors import ArtifactError
from tests.conftest import ROOT
from tests.runtimes.conftest import open_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.runtimes.conftest import Served

pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")

WINDOW = 192
NF4: Mapping[str, Any] = MappingProxyType(
    {"method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
)
KINDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "nf4": NF4,
        "nf4-double": {**NF4, "bnb_4bit_use_double_quant": True},
        "int8": {"method": "bitsandbytes", "load_in_8bit": True},
        "torchao": {"method": "torchao", "quant_type": "int8_weight_only"},
    }
)
KERNELS = {
    "nf4": "Linear4bit",
    "nf4-double": "Linear4bit",
    "int8": "Linear8bitLt",
    "torchao": "Linear (Int8Tensor)",
}
WORST = {
    # perplexity over the reference's less 1, mean KL in nats; in brackets what was measured
    "nf4": (0.02, 0.012),  # .0070 and .0046
    "nf4-double": (0.02, 0.012),  # .0071 and .0046
    "int8": (0.002, 0.0003),  # .0001 and .00005
    "torchao": (0.002, 0.0003),  # .0001 and .00003
}


@pytest.fixture(scope="module")
def reference() -> Iterator[Served]:
    served = open_model("transformers", model_directory(), WINDOW)
    yield served
    served.runtime.close()


@pytest.fixture(scope="module")
def windows(reference: Served) -> np.ndarray:
    return reference.sample(sequences=16, tokens=WINDOW, seed=4)


def logprobs(served: Served, windows: np.ndarray) -> np.ndarray:
    rows = np.concatenate([served.windows(some, 0) for some in np.split(windows, 4)])
    found: np.ndarray = log_softmax(rows.astype(float), axis=-1)
    return found


def damage(ours: np.ndarray, theirs: np.ndarray, windows: np.ndarray) -> tuple[float, float]:
    """The ratio of perplexities less 1, and the mean KL."""
    one, other = (
        np.take_along_axis(said[:, :-1], windows[:, 1:, None], axis=-1) for said in (ours, theirs)
    )
    kl = (np.exp(theirs) * (theirs - ours)).sum(axis=-1)
    return float(np.exp((other - one).mean()) - 1), float(kl.mean())


def needs(kind: str) -> None:
    package = "torchao" if kind == "torchao" else "bitsandbytes"
    pytest.importorskip(package, reason=f"{kind} is made with {package}")


@pytest.mark.parametrize("kind", KINDS)
def test_weights_quantized_while_they_are_loaded_do_the_known_damage(
    reference: Served, windows: np.ndarray, kind: str
) -> None:
    needs(kind)
    path = model_directory()
    with closing(
        open_model("transformers", path, WINDOW, quantize=dict(KINDS[kind])).runtime
    ) as runtime:
        served = type(reference)(
            runtime=runtime, facts=reference.facts, path=path, name="transformers"
        )
        ratio, kl = damage(logprobs(served, windows), logprobs(reference, windows), windows)

    most_ratio, most_kl = WORST[kind]
    assert abs(ratio) < most_ratio
    assert most_kl / 30 < kl < most_kl


@pytest.mark.parametrize("kind", KINDS)
def test_facts_of_quantized_weights_are_those_of_their_modules(
    reference: Served, kind: str
) -> None:
    needs(kind)
    quantized = open_model("transformers", model_directory(), quantize=dict(KINDS[kind]))

    assert quantized.facts.kernel == KERNELS[kind]
    assert quantized.facts.n_params == reference.facts.n_params
    share = quantized.facts.weights_bytes / reference.facts.weights_bytes
    assert share < (0.27 if kind.startswith("nf4") else 0.36)  # the embedding stays as it is


MAKE = """
import sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig
source, target, kind = sys.argv[1:]
if kind == "torchao":
    from torchao.quantization import Int8WeightOnlyConfig
    how = TorchAoConfig(Int8WeightOnlyConfig())
elif kind == "int8":
    how = BitsAndBytesConfig(load_in_8bit=True)
else:
    how = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=kind != "nf4"
    )
model = AutoModelForCausalLM.from_pretrained(
    source, quantization_config=how, dtype=torch.float32
)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(source).save_pretrained(target)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_artifact_is_what_loading_made_of_the_reference(
    tmp_path: Path, windows: np.ndarray, kind: str
) -> None:
    needs(kind)
    run(MAKE, model_directory(), tmp_path / "saved", kind)

    saved = open_model("transformers", tmp_path / "saved", WINDOW)
    loaded = open_model("transformers", model_directory(), WINDOW, quantize=dict(KINDS[kind]))

    assert saved.facts.kernel == loaded.facts.kernel == KERNELS[kind]
    one, other = (logprobs(served, windows[:4]) for served in (saved, loaded))
    assert one == pytest.approx(other, abs=1e-3)


GPTQ = """
import sys
import numpy as np
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
source, target, kind = sys.argv[1:]
rng = np.random.default_rng(0)
data = [
    {"input_ids": rng.integers(5, 1792, 192).tolist(), "attention_mask": [1] * 192}
    for _ in range(8)
]
if kind == "gptq":
    model = GPTQModel.load(source, QuantizeConfig(bits=4, group_size=128), device="cpu")
    model.quantize(data)
else:
    how = QuantizeConfig(bits=4, group_size=128, quant_method="awq", format="gemm", sym=False)
    model = GPTQModel.load(source, how, device="cpu")
    model.quantize(data, backend=BACKEND.AWQ_TORCH)
model.save(target)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kernel"), [("gptq", "TorchAtenLinear"), ("awq", "TorchAtenAwqLinear")]
)
def test_weights_of_gptqmodel_run_in_its_kernel(
    tmp_path: Path, reference: Served, windows: np.ndarray, kind: str, kernel: str
) -> None:
    pytest.importorskip("gptqmodel", reason=f"{kind} is made with gptqmodel")
    run(GPTQ, model_directory(), tmp_path / "made", kind)

    served = open_model("transformers", tmp_path / "made", WINDOW)

    assert served.facts.kernel == kernel
    assert served.facts.n_params == reference.facts.n_params
    ratio, kl = damage(logprobs(served, windows), logprobs(reference, windows), windows)
    assert -0.01 < ratio < 0.05
    assert 1e-4 < kl < 0.03


def run(source: str, *arguments: object) -> None:
    environ = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(ROOT),
        "OMP_WAIT_POLICY": "passive",
        "GPTQMODEL_CPU_WORKERS": "2",
    }
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with tempfile.TemporaryDirectory() as elsewhere:  # gptqmodel leaves logs where it runs
        done = subprocess.run(command, cwd=elsewhere, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_quantized_already_is_not_quantized_again(tmp_path: Path) -> None:
    config = json.loads((model_directory() / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ArtifactError, match=r"^qgate\.yaml: quantize: got 'bitsandbytes' for wei"):
        open_model("transformers", tmp_path, quantize=dict(NF4))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"method": "gptq"}, "quantize.method: got 'gptq'; expected bitsandbytes or torchao"),
        (
            {"method": "torchao", "quant_type": "os.system"},
            "quantize.quant_type: got 'os.system'; expected one of int8_weight_only",
        ),
    ],
)
def test_what_cannot_be_asked_for_is_said(asked: dict[str, Any], told: str) -> None:
    pytest.importorskip("torchao", reason="torchao's own names are looked up in it")
    pytest.importorskip("gptqmodel", reason="its absence would be told first")
    with pytest.raises(ArtifactError) as caught:
        open_model("transformers", model_directory(), quantize=asked)
    assert told in str(caught.value)
