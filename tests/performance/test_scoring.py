r"""How fast artifacts are scored, with divergences computed on the way, against `llama-perplexity`.

    QGATE_LLAMA_PERPLEXITY=/path/to/llama-perplexity pytest tests/performance -m slow \
        --benchmark-json=scoring.json

The peer has to be built from the llama.cpp sources in llama-cpp-python's own source distribution,
with the same compiler and flags. Both tools get the same file, text, threads and windows, in turn.
What each needs before it runs evenly (start, load, first touch of memory) is left out: qgate's
child scores a few windows before its time is taken, the peer runs twice, with few windows and with
many. Quote the median ratio, `throughput_over_llama_perplexity` in the file's `extra_info`: single
times are noise.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from qgate.artifacts import digest, discover
from qgate.reference.distributions import Plan, Reference, ReferenceStore, score_request
from qgate.reference.texts import find_text
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.served_model import LoadOptions, ServedModel
from qgate.runtimes.verbs import SCORE
from qgate.thresholds import TextSettings
from tests.support.children import load

pytestmark = pytest.mark.slow
pytest.importorskip("llama_cpp", reason="needs the GGUF runtime")

WINDOW_TOKENS = 512
WARM_UP_WINDOWS = 4
THREADS = 2


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A reference and an artifact of one shape, and a text."""

    reference: Path
    artifact: Path
    text: Path
    windows: int
    store: Path


def _text(path: Path) -> Path:
    rng = np.random.default_rng(0)
    letters = list("etaoinshrdlucmfw")
    words = ("".join(rng.choice(letters, rng.integers(2, 8))) for _ in range(40_000))
    path.write_text(" ".join(words))
    return path


SHAPES = {
    "20MB": {"width": 256, "layers": 4, "feed_forward": 768, "vocabulary": 12_288},
    "128k-vocabulary": {"width": 512, "layers": 4, "feed_forward": 1536, "vocabulary": 128_256},
}


@pytest.fixture(params=SHAPES)
def scene(request: pytest.FixtureRequest, tmp_path: Path, random_llama) -> Scene:
    windows = 64
    reference = random_llama(tmp_path / "original.gguf", **SHAPES[request.param])
    artifact = random_llama(tmp_path / "artifact.gguf", **SHAPES[request.param], noise=0.02)
    return Scene(
        reference=reference,
        artifact=artifact,
        text=_text(tmp_path / "text.txt"),
        windows=windows,
        store=tmp_path / "store",
    )


def _reference(scene: Scene) -> Reference:
    (reference,) = discover([scene.reference])
    settings = TextSettings(source=scene.text, windows=scene.windows, window_tokens=WINDOW_TOKENS)
    plan = Plan(
        artifact=reference,
        digest=digest(reference),
        text=find_text(settings, scene.text.parent),
        settings=settings,
    )
    loading = LoadOptions(window_tokens=WINDOW_TOKENS, threads=THREADS)
    start = lambda: Host(HostSettings(runtime="llama_cpp"))  # noqa: E731
    with contextlib.closing(ServedModel(reference, start, loading)) as serving:
        return ReferenceStore(scene.store).get_or_measure(plan, serving)


def _score(scene: Scene, reference: Reference) -> dict[str, float]:
    whole = score_request(reference, 0, len(reference.windows.ids))
    with Host(HostSettings(runtime="llama_cpp")) as host:
        load(host, scene.artifact, WINDOW_TOKENS, THREADS)
        SCORE.ask(host, score_request(reference, 0, WARM_UP_WINDOWS))
        started = time.perf_counter()
        scored = SCORE.ask(host, whole)
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{host.pid}/status").read_text()
    peak_kb = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return {
        "window_s": seconds / scene.windows,
        "outside_share": 1 - scored.decode_s / seconds,
        "peak_bytes": int(peak_kb) * 1024,
    }


def _peer(tool: str, scene: Scene, windows: int) -> tuple[float, int]:
    """Seconds and peak bytes of one run of the peer."""
    command = [tool, "-m", str(scene.artifact), "-f", str(scene.text), "-c", str(WINDOW_TOKENS)]
    command += ["-t", str(THREADS), "--chunks", str(windows)]
    environ = {**os.environ, "OMP_WAIT_POLICY": "passive"}
    started = time.perf_counter()
    child = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, code, usage = os.wait4(child.pid, 0)
    child.returncode = code
    assert code == 0
    return time.perf_counter() - started, usage.ru_maxrss * 1024


def test_scoring_throughput(benchmark, scene: Scene) -> None:
    """Tokens a second, the share of time outside llama_decode, and the ratio to the peer."""
    reference = _reference(scene)
    tool = os.environ.get("QGATE_LLAMA_PERPLEXITY")
    ratios, ours = [], []

    def measure() -> None:
        ours.append(_score(scene, reference))
        if tool:
            few, many = WARM_UP_WINDOWS, scene.windows
            low, _ = _peer(tool, scene, few)
            high, peak_bytes = _peer(tool, scene, many)
            ratios.append((high - low) / (many - few) / ours[-1]["window_s"])
            benchmark.extra_info["peer_peak_bytes"] = peak_bytes
            benchmark.extra_info["ratios"] = [round(ratio, 3) for ratio in ratios]

    benchmark.pedantic(measure, rounds=5 if tool else 2, iterations=1)
    window_s = statistics.median(run["window_s"] for run in ours)
    benchmark.extra_info |= {
        "tokens_per_s": WINDOW_TOKENS / window_s,
        "outside_llama_decode": statistics.median(run["outside_share"] for run in ours),
        "peak_bytes": max(run["peak_bytes"] for run in ours),
        "compared_positions": len(reference.compared),
        "store_share_of_base_file": reference.storage()["store_bytes"]
        / reference.storage()["llama_cpp_base_file_bytes"],
        "throughput_over_llama_perplexity": statistics.median(ratios) if ratios else None,
    }
    assert reference.self_kl_nats < 1e-5
