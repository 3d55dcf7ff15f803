"""Integrity rows of artifacts that real tools make of the demo model: sound and damaged ones."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import qgate
from qgate.artifacts import discover
from qgate.artifacts.hf.safetensors import read_header
from qgate.measure.integrity.rows import find

if TYPE_CHECKING:
    from qgate.artifacts.hf.safetensors import StoredTensor
    from qgate.measure.measurement import Finding

pytestmark = pytest.mark.slow

DEMO = Path(qgate.__file__).parent / "demo" / "model"
ROWS = ("files", "scheme", "weights", "tokenizer", "special_tokens", "chat_template")
SCRIPT = """
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TorchAoConfig
source, target, kind = sys.argv[1:]
torch.set_num_threads(1)
if kind.startswith("torchao"):
    import torchao.quantization as ao
    config = TorchAoConfig(getattr(ao, kind.partition(":")[2])())
elif kind == "int8":
    config = BitsAndBytesConfig(load_in_8bit=True)
else:
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind[:3],
        bnb_4bit_use_double_quant=kind.endswith("double"))
model = AutoModelForCausalLM.from_pretrained(
    source, quantization_config=config, dtype=torch.bfloat16)
model.save_pretrained(target)
AutoTokenizer.from_pretrained(source).save_pretrained(target)
"""
KINDS = {
    "nf4": ("bitsandbytes", "4 bit nf4"),
    "nf4 double": ("bitsandbytes", "4 bit nf4, double"),
    "fp4": ("bitsandbytes", "4 bit fp4"),
    "int8": ("bitsandbytes", "8 bit int8"),
    "torchao:Int8WeightOnlyConfig": ("torchao", "int8 weight-only"),
    "torchao:Float8WeightOnlyConfig": ("torchao", "float8 weight-only"),
    "torchao:IntxWeightOnlyConfig": ("torchao", "int8 weight-only"),
}


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo model as the tool saves it, in a directory of the kind's name."""
    kind = request.param
    tool = "torchao" if kind.startswith("torchao") else "bitsandbytes"
    for package in ("transformers", "accelerate", tool):
        pytest.importorskip(package, reason=f"{kind} is made with {package}")
    target: Path = tmp_path_factory.mktemp("made") / kind.replace(":", " ")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(DEMO), str(target), kind],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target


def rows(path: Path) -> dict[str, Finding]:
    (artifact,), (reference,) = discover([path]), discover([DEMO])
    return {row: find(f"integrity.{row}", artifact, lambda: reference, str) for row in ROWS}


def test_what_the_tool_saves_holds_every_row(made: Path) -> None:
    (artifact,) = discover([made])
    kind = next(kind for kind in KINDS if kind.replace(":", " ") == made.name)
    assert (artifact.scheme, artifact.quantization) == KINDS[kind]
    found = rows(made)
    assert [found[row].message for row in ROWS if not found[row].holds] == []
    assert found["scheme"].details["n_quantized"] == 28
    assert found["scheme"].details["n_left_unquantized"] == 0


def damaged(made: Path, tmp_path: Path, name: str, content: bytes) -> dict[str, Finding]:
    """Of a copy in which a tensor is overwritten, from its beginning."""
    shutil.copytree(made, tmp_path / "m")
    path = tmp_path / "m" / "model.safetensors"
    tensor = next(t for t in read_header(path).tensors if t.name == name)
    with path.open("r+b") as file:
        file.seek(tensor.offset)
        file.write(content[: tensor.n_bytes])
    return rows(tmp_path / "m")


def tensors(made: Path) -> dict[str, StoredTensor]:
    return {tensor.name: tensor for tensor in read_header(made / "model.safetensors").tensors}


def test_a_zeroed_matrix_fails(made: Path, tmp_path: Path) -> None:
    stored = tensors(made)
    stem = "model.layers.2.mlp.down_proj"
    name = next(one for one in (f"{stem}._weight_qdata", f"{stem}.weight") if one in stored)
    found = damaged(made, tmp_path, name, bytes(stored[name].n_bytes))
    assert not found["weights"].holds
    assert name in found["weights"].message


def test_a_scale_that_is_no_number_fails(made: Path, tmp_path: Path) -> None:
    stored = tensors(made)
    stem = "model.layers.2.mlp.down_proj"
    endings = (
        "._weight_scale",
        ".weight.nested_absmax",
        ".weight.absmax",
        ".SCB",
    )
    name = next(stem + ending for ending in endings if stem + ending in stored)
    nan = {"F32": b"\x00\x00\xc0\x7f", "BF16": b"\xc0\x7f"}[stored[name].dtype]
    found = damaged(made, tmp_path, name, nan)
    assert not found["weights"].holds
    assert f"1 of {len(stored)} tensors hold NaN or Inf: {name}" in found["weights"].message


def test_another_claim_fails(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    config = json.loads(path.read_text())
    config["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    path.write_text(json.dumps(config))
    assert not rows(tmp_path / "m")["scheme"].holds
    del config["quantization_config"]
    path.write_text(json.dumps(config))
    assert not rows(tmp_path / "m")["scheme"].holds
