"""The training script: what it trains is what llama.cpp runs, and a short run works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qgate.demo
from qgate.demo.__main__ import model_directory

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
pytest.importorskip("transformers")


def test_llama_cpp_computes_what_was_trained(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    pytest.importorskip("gguf")
    from qgate.demo.formats.gguf_convert import convert
    from qgate.demo.training import checkpoint
    from tests.support.demo_model import load, logits_of

    convert(model_directory(), tmp_path / "f16.gguf")
    converted = load(tmp_path / "f16.gguf")
    trained = checkpoint.load(model_directory())
    ids = converted.encode("Anna went to the park. 12 + 34 = 46\n" * 6, begins=True)
    with torch.no_grad():
        expected = trained(torch.tensor(ids[None])).logits[0].log_softmax(-1).numpy()
    observed = torch.tensor(logits_of(converted, ids)).log_softmax(-1).numpy()
    converted.close()
    # llama.cpp keeps activations, keys and values in float16: single numbers move by 0.1 and more
    kl = (np.exp(expected) * (expected - observed)).sum(-1)
    assert kl.mean() < 1e-4
    assert kl.max() < 5e-3
    assert (observed.argmax(-1) == expected.argmax(-1)).mean() > 0.98


def test_documents_of_a_row_are_kept_apart_where_asked() -> None:
    from qgate.demo.training.train import visible

    seen = visible(torch.tensor([[0, 5, 0, 6], [0, 5, 0, 6]]), bos=0, alone=1)[:, 0] == 0
    assert seen[0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert seen[1].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


def test_the_rate_rises_stays_and_falls_to_nothing() -> None:
    from qgate.demo.training.train import Plan, rate_at

    plan = Plan(minutes=1, rows=8, rate=0.02, seed=1)
    rates = [rate_at(share, plan) for share in (0.0, 0.1, 0.5, 0.8, 1.0)]
    assert rates[0] < rates[1] == rates[2] == 1.0
    assert rates[2] > rates[3] > rates[4] == 0.0


@pytest.mark.slow
def test_a_short_run_writes_a_model_that_converts(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    from qgate.demo.formats.gguf_convert import convert

    environment = os.environ | {
        "OMP_WAIT_POLICY": "passive",
        "PYTHONPATH": str(Path(qgate.demo.__file__).parents[2]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "qgate.demo.training.train", "--out", "model", "--minutes", "0.05"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "model" / "training.json").read_text())["steps"] > 0
    convert(tmp_path / "model", tmp_path / "model.gguf")
    assert (tmp_path / "model.gguf").stat().st_size > 7_000_000
