r"""Whether output tokens a second are those of `llama-bench`, on the same file in the same run.

    QGATE_LLAMA_BENCH=/path/to/llama-bench pytest tests/performance/test_throughput.py -m slow \
        --benchmark-json=throughput.json

The peer has to be built from the llama.cpp sources in llama-cpp-python's own source distribution,
with the same compiler and flags. Both get the same file, threads and lengths, in turns: the peer
generates 48 tokens behind 128 (`-p 0 -n 48 -d 128`), qgate's child 48 behind a prompt of 128. The
peer draws its next token at random and reads no logits; qgate's child reads them and takes the most
likely: some 0.1 ms a token, hence a model that needs much longer than that.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate import stats
from qgate.measure.latency.interleaved import FIRST_ORDINARY_TOKEN, Timings
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.messages import TimedRequest
from qgate.runtimes.verbs import TIME
from tests.support.children import load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")

SHAPE = {"width": 1024, "layers": 8, "feed_forward": 2816, "vocabulary": 4096}
PROMPT_TOKENS, OUTPUT_TOKENS = 128, 48
THREADS = 1
ROUNDS = 20
TOLERANCE = 0.03
"""Of the ratio's interval, which a busy machine widens: logits are read here and not there."""


def _ask_peer(tool: str, model: Path) -> float:
    """Tokens a second of one repetition of the peer."""
    lengths = ["-p", "0", "-n", str(OUTPUT_TOKENS), "-d", str(PROMPT_TOKENS)]
    command = [tool, "-m", str(model), "-t", str(THREADS), *lengths, "-r", "1", "-o", "json"]
    environ = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    [row] = json.loads(done.stdout)
    [sample] = row["samples_ts"]
    return float(sample)


def _ask_child(host: Host, ids: np.ndarray) -> float:
    at_s = TIME.ask(host, TimedRequest(ids=ids, count=OUTPUT_TOKENS))
    return float(Timings(at_s=at_s[None]).output_tps[0])


def test_tokens_per_second_are_the_peers(benchmark: Any, random_llama: Any, tmp_path: Path) -> None:
    """The medians differ by no more than the peer's own samples do among themselves."""
    tool = os.environ.get("QGATE_LLAMA_BENCH")
    if not tool:
        pytest.skip("set QGATE_LLAMA_BENCH to llama.cpp's llama-bench")
    model = random_llama(tmp_path / "model.gguf", **SHAPE)
    rng = np.random.default_rng(0)
    ours: list[float] = []
    peers: list[float] = []
    with Host(HostSettings(runtime="llama_cpp")) as host:
        load(host, model, 512, THREADS)

        def one_turn() -> None:
            shape = (PROMPT_TOKENS,)
            ids = rng.integers(FIRST_ORDINARY_TOKEN, SHAPE["vocabulary"], shape).astype(np.int32)
            sides = [
                lambda: ours.append(_ask_child(host, ids)),
                lambda: peers.append(_ask_peer(tool, model)),
            ]
            for side in sides if len(ours) % 2 else sides[::-1]:
                side()

        one_turn()  # warms up
        ours.clear()
        peers.clear()
        benchmark.pedantic(one_turn, rounds=ROUNDS, iterations=1)

    ratio = stats.median_ratio(np.log(np.divide(ours, peers)), level=0.95)
    benchmark.extra_info |= {
        "output_tps": [round(one, 3) for one in ours],
        "llama_bench_tps": [round(one, 3) for one in peers],
        "output_tps_over_llama_bench": [ratio.value, ratio.low, ratio.high],
    }
    difference = abs(statistics.median(ours) - statistics.median(peers))
    assert difference <= max(peers) - min(peers), benchmark.extra_info
    assert ratio.low < 1 + TOLERANCE
    assert ratio.high > 1 - TOLERANCE
