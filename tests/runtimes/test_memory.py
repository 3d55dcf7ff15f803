"""A child sees its own memory: what it takes, what it took at most, and whether it leaks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate import stats
from qgate.artifacts import discover
from qgate.demo.__main__ import model_directory
from qgate.demo.formats.gguf_convert import convert
from qgate.demo.formats.gguf_quantize import quantize
from qgate.errors import MeasurementError
from qgate.measure.memory.rows import (
    Footprint,
    Growth,
    MemorySamples,
    measure_footprint,
    measure_growth,
)
from qgate.records import Limit, SourceLine, Verdict
from qgate.runtimes.base import Buffers
from qgate.runtimes.host import Host, HostSettings
from qgate.runtimes.llama_cpp.memory import buffers, weights_bytes
from qgate.runtimes.worker import process_memory as memory
from qgate.thresholds import MemorySettings
from qgate.verdict import judge
from tests.support.children import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.runtimes.messages import ContextMemory


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
ROOT = Path(__file__).resolve().parents[2]
MIB = 2**20
CONTEXT = 512
GROWTH = Limit(check="memory.growth", rule="alarm", max=4096.0, source=SourceLine("limits.yaml", 1))


class Hog:
    """A runtime that fills so many bytes while it serves, and gives them back."""

    def __init__(self, taken_bytes: int) -> None:
        self._taken_bytes = taken_bytes

    def fill_context(self, tokens: int) -> Buffers:
        held = np.ones(self._taken_bytes, dtype=np.uint8)
        return Buffers(
            weights_bytes=1, kv_cache_bytes=1, compute_bytes=held.nbytes, context_tokens=tokens
        )


def fill(taken_bytes: int) -> ContextMemory:
    return memory.fill_context(Hog(taken_bytes), 64)


FILL_ALONE = f"""
import dataclasses, json
from tests.runtimes.test_memory import fill
print(json.dumps(dataclasses.asdict(fill({200 * MIB}))))
"""


def test_the_peak_holds_what_was_given_back() -> None:
    """In a process of its own: whatever this one started before would count with it."""
    done = subprocess.run(
        [sys.executable, "-c", FILL_ALONE], cwd=ROOT, check=True, capture_output=True, text=True
    )
    found = json.loads(done.stdout)

    assert found["peak_rss_bytes"] > found["pss_bytes"] + 150 * MIB
    assert found["buffers"]["compute_bytes"] == 200 * MIB


def test_an_earlier_peak_is_forgotten() -> None:
    large, small = fill(400 * MIB), fill(MIB)

    assert small.peak_rss_bytes < large.peak_rss_bytes - 300 * MIB


def test_what_a_process_starts_counts_with_it() -> None:
    before = memory.tree_pss_bytes()
    hold = "held = bytearray(b'x' * 100 * 2**20); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with_it = memory.tree_pss_bytes()
        other.communicate(b"\n")

    assert with_it - before > 95 * MIB


def test_a_system_that_does_not_tell_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(MeasurementError, match=r"^memory: this system does not tell .* Linux$"):
        memory.tree_pss_bytes()


LOAD = (
    "load_tensors:   CPU_Mapped model buffer size =     2.17 MiB",
    "load_tensors:   CPU_REPACK model buffer size =     1.33 MiB",
)
CONTEXT_LOG = (
    "llama_context:        CPU  output buffer size =     0.01 MiB",
    "llama_kv_cache:        CPU KV buffer size =     1.00 MiB",
    "llama_kv_cache: size =    1.00 MiB (   512 cells,   4 layers,  1/1 seqs), K (f16): 0.50 MiB",
    "sched_reserve:        CPU compute buffer size =     7.01 MiB",
)


def test_the_log_is_added_up_over_devices() -> None:
    found = buffers(weights_bytes(LOAD), CONTEXT_LOG)

    assert found == Buffers(
        weights_bytes=round(3.5 * MIB),
        kv_cache_bytes=MIB,
        compute_bytes=round(7.02 * MIB),
        context_tokens=512,
    )


@pytest.mark.parametrize("left_out", [1, 2, 3])
def test_a_buffer_that_the_log_leaves_out_is_not_zero(left_out: int) -> None:
    lines = CONTEXT_LOG[:left_out] + CONTEXT_LOG[left_out + 1 :]

    with pytest.raises(MeasurementError, match="log does not tell what it allocated"):
        buffers(weights_bytes(LOAD), lines)


# --- the model that comes with the package, in llama.cpp ------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    for name in ("gguf", "safetensors", "llama_cpp"):
        pytest.importorskip(name)
    directory = tmp_path_factory.mktemp("demo")
    reference = directory / "demo-F16.gguf"
    convert(model_directory(), reference)
    found = {"F16": reference}
    for scheme in ("Q8_0", "Q4_K_M"):
        found[scheme] = directory / f"demo-{scheme}.gguf"
        quantize(reference, found[scheme], scheme)
    return found


def footprint(path: Path) -> Footprint:
    with Host(HostSettings(runtime="llama_cpp")) as host:
        load(host, path, CONTEXT)
        return measure_footprint(host, CONTEXT)


def samples_of(path: Path, own: Footprint, reference: Footprint) -> MemorySamples:
    [artifact] = discover([path])
    looks = stats.Looks(ends=(60,), look=1)
    growth = Growth(bytes=np.zeros(60), warmup_batches=60, looks=looks)
    return MemorySamples.of(artifact, own, reference, growth)


def test_the_caches_bytes_are_those_of_the_header(models: dict[str, Path]) -> None:
    own = footprint(models["F16"])
    samples = samples_of(models["F16"], own, own)

    # 4 layers, 4 of 4 heads of 64: 2 * 4 * 4 * 64 * 2 bytes, logged as 1.00 MiB of 512 tokens
    assert samples.header_kv_bytes_per_token == own.kv_bytes_per_token
    assert samples.estimate("memory.kv_cache", 0.95, {}).value == 1.0
    assert own.context_tokens == CONTEXT
    assert samples.estimate("memory.peak", 0.95, {}).value == 1.0
    assert samples.estimate("memory.weights", 0.95, {}).value == 1.0


def test_weights_take_what_the_file_holds(models: dict[str, Path]) -> None:
    reference, own = footprint(models["F16"]), footprint(models["Q8_0"])

    for path, found in ((models["F16"], reference), (models["Q8_0"], own)):
        assert 0.98 < found.weights_bytes / path.stat().st_size < 1.0
    ratio = samples_of(models["Q8_0"], own, reference).estimate("memory.weights", 0.95, {}).value
    assert 0.53 < ratio < 0.54  # 8.5 of 16 bits


def test_weights_that_are_repacked_count_twice(models: dict[str, Path]) -> None:
    own = footprint(models["Q4_K_M"])

    # where the processor has no use for repacked weights, they are what the file holds
    assert 0.9 < own.weights_bytes / models["Q4_K_M"].stat().st_size < 2.0


def test_a_footprint_repeats_to_the_byte(models: dict[str, Path]) -> None:
    first, second = (footprint(models["Q8_0"]) for _ in range(2))

    assert first.allocated_bytes == second.allocated_bytes
    assert first.peak_bytes == first.allocated_bytes


def test_the_account_is_what_the_system_sees_within_a_few_mib(models: dict[str, Path]) -> None:
    found = footprint(models["F16"]).to_json()

    assert abs(found["unaccounted_bytes"]) < 16 * MIB


LEAK = """
from qgate.runtimes.llama_cpp.adapter import LlamaCpp
class Planted(LlamaCpp):
    kept = []
    def stream(self, ids, count):
        self.kept.append(b"x" * {bytes})  # touched: memory that is only reserved is not used
        return super().stream(ids, count)
"""


def growth(path: Path, runtime: str) -> np.ndarray:
    with Host(HostSettings(runtime=runtime)) as host:
        facts = load(host, path, CONTEXT)
        measure_footprint(host, CONTEXT)
        return measure_growth(host, MemorySettings(), facts.n_vocab).bytes


@pytest.mark.slow
def test_llama_cpp_does_not_grow(models: dict[str, Path]) -> None:
    found = stats.slope(growth(models["Q8_0"], "llama_cpp"), level=0.95, unit="bytes")

    assert judge(found, GROWTH) is Verdict.PASS, found


@pytest.mark.slow
@pytest.mark.parametrize("leak_bytes", [16_384, 100_000])
def test_a_leak_is_seen(
    models: dict[str, Path], planted: Callable[[str], str], leak_bytes: int
) -> None:
    runtime = planted(LEAK.format(bytes=leak_bytes))

    found = stats.slope(growth(models["Q8_0"], runtime), level=0.95, unit="bytes")

    assert judge(found, GROWTH) is Verdict.FAIL, found
    assert found.low < leak_bytes + 4096
    assert found.high >= leak_bytes
