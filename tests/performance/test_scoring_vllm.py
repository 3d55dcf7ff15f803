r"""How fast the vLLM adapter scores, against bare `LLM.generate` with the same requests.

    QGATE_VLLM_PYTHON=vllm-env/bin/python pytest tests/performance/test_scoring_vllm.py -m vllm \
        --benchmark-json=scoring.json

Both run in turn in one process and one engine, so that neither start nor load nor a busy machine
is part of the ratio; the median of the rounds' ratios is quoted, `throughput_over_generate` in the
file's `extra_info`. `divergences` asks for the 256 likeliest tokens at each position and compares
them with what is kept of the reference, which bare `generate` does not do.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qgate.demo.__main__ import model_directory
from tests.support.vllm_environment import python_with_vllm

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

ROUNDS = 9
SCORED_TOKENS = 64 * 256
AT_LEAST = 0.9


def test_scoring_is_as_fast_as_bare_generate(benchmark: Any) -> None:
    script = Path(__file__).with_name("vllm_rounds.py")
    command = [python_with_vllm(), "-P", str(script), str(model_directory()), str(ROUNDS)]
    environ = {**os.environ, "OMP_WAIT_POLICY": "passive"}

    def measure() -> dict[str, list[list[float]]]:
        ran = subprocess.run(command, env=environ, capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode()[-2000:]
        found: dict[str, list[list[float]]] = json.loads(ran.stdout)
        return found

    rounds = benchmark.pedantic(measure, rounds=1, iterations=1)

    for kind, pairs in rounds.items():
        ratios = [theirs / ours for ours, theirs in pairs]
        benchmark.extra_info[kind] = {
            "throughput_over_generate": statistics.median(ratios),
            "ratios": [round(ratio, 3) for ratio in ratios],
            "tokens_per_s": SCORED_TOKENS / statistics.median(ours for ours, _ in pairs),
        }
    found = {kind: benchmark.extra_info[kind]["throughput_over_generate"] for kind in rounds}
    assert min(found.values()) >= AT_LEAST, found
