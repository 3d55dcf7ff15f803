"""Scoring holds a few rows of logits however long its windows are; serving is accounted for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qgate.demo.__main__ import model_directory
from qgate.measure.memory.footprint import measure_footprint
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.torch_memory import peak_bytes
from tests.support.children import load, score, score_whole

pytest.importorskip("transformers", reason="needs pytest-qgate[transformers]")

VOCABULARY, WIDTH = 32_768, 64
MIB = 1 << 20


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose vocabulary outweighs all the rest."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    directory = tmp_path_factory.mktemp("random")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).write_bytes((model_directory() / name).read_bytes())
    return directory


def peak_rss_bytes(host: Host) -> int:
    lines = Path(f"/proc/{host.pid}/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def score_windows(host: Host, size: int) -> Any:
    ids = np.random.default_rng(size).integers(5, VOCABULARY, (4, size)).astype(np.int32)
    return score(host, ids).nll_nats


def score_sequences(host: Host, size: int) -> Any:
    ids = [np.random.default_rng(size).integers(5, VOCABULARY, size).astype(np.int32)] * 2
    return np.concatenate(score_whole(host, ids, size // 2).nll_nats)


@pytest.mark.slow
@pytest.mark.parametrize("scored", [score_windows, score_sequences])
def test_peak_memory_of_scoring_does_not_grow_with_vocabulary_times_context(
    model: Path, scored: Any
) -> None:
    added = {}
    for size in (256, 4096):
        with Host(HostSettings(runtime="transformers")) as host:
            load(host, model, size)
            before = peak_rss_bytes(host)
            assert np.isfinite(scored(host, size)).all()
            added[size] = peak_rss_bytes(host) - before

    whole_window = 2048 * VOCABULARY * 4  # 256 MiB of logits of the wanted rows alone
    assert added[4096] - added[256] < whole_window / 4
    assert added[4096] < whole_window * 0.6


def test_parts_of_a_window_are_scored_as_the_whole(model: Path) -> None:
    from qgate.runtimes.base import LoadSettings
    from qgate.runtimes.transformers.adapter import Transformers
    from qgate.runtimes.worker.scoring import Scorer, ScoreRequest

    runtime = Transformers()
    runtime.load(LoadSettings(path=str(model), window_tokens=200, threads=1))
    windows = np.random.default_rng(0).integers(5, VOCABULARY, (7, 200)).astype(np.int32)
    request = ScoreRequest(windows=windows, first=100)
    found = {}
    for rows in (10_000, 250, 100, 33, 1):
        runtime._body.rows_per_part = rows
        sizes = {
            part.shape[:2] for part, _ in runtime.logits_of_windows(windows, 100, with_hidden=False)
        }
        assert max(a * b for a, b in sizes) <= max(rows, 1)
        found[rows] = Scorer(runtime, request).score(lambda *_: None)["nll_nats"]
    runtime.close()

    assert found[10_000].shape == (7 * 99,)
    for rows, nll in found.items():
        assert nll == pytest.approx(found[10_000], abs=1e-4), rows


def test_the_account_of_a_cpu_is_the_peak_of_what_is_held_at_a_time() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")

    def work() -> None:
        one = torch.zeros(MIB)
        other = torch.zeros(2 * MIB)
        del one
        torch.zeros(MIB // 4)
        del other
        torch.zeros(MIB)

    assert peak_bytes(work) == 4 * 3 * MIB


@pytest.mark.slow
def test_what_the_system_sees_does_not_contradict_the_account() -> None:
    with Host(HostSettings(runtime="transformers")) as host:
        load(host, model_directory(), 512)
        footprint = measure_footprint(host, 512)

    assert footprint.allocated_bytes > 4 * 3_606_784
    assert footprint.kv_bytes_per_token == 2 * 4 * 2 * 64 * 4
