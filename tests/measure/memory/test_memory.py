"""Rows of memory are the plain arithmetic, and what could not be measured is no row."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from qgate import stats
from qgate.checks import CHECKS
from qgate.errors import MeasurementError
from qgate.measure.memory.footprint import batch_ends
from qgate.measure.memory.rows import (
    ROWS,
    Footprint,
    Growth,
    MemorySamples,
    measure_footprint,
    measure_growth,
)
from qgate.thresholds import MemorySettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.runtimes.host import Host
    from qgate.runtimes.messages import Repeats

MIB = 2**20
SETTINGS = MemorySettings(batches=60, warmup_batches=30)
WARMUP_BATCHES = SETTINGS.warmup_batches
OWN = Footprint(
    weights_bytes=500 * MIB,
    kv_cache_bytes=64 * MIB,
    compute_bytes=36 * MIB,
    context_tokens=4096,
    pss_before_bytes=540 * MIB,
    pss_bytes=642 * MIB,
    peak_rss_bytes=660 * MIB,
    device="cpu",
)
THEIRS = dataclasses.replace(OWN, weights_bytes=1500 * MIB, compute_bytes=36 * MIB)
AT_ONCE = stats.Looks(ends=(60,), look=1)
SAMPLES = MemorySamples(
    artifact=OWN,
    reference=THEIRS,
    growth=Growth(bytes=np.full(60, 640 * MIB), warmup_batches=60, looks=AT_ONCE),
    header_kv_bytes_per_token=16384,
)
BUDGET = {"context": 4096.0, "sequences": 1.0, "is_vram": 0.0}


@dataclass(kw_only=True)
class Child:
    """A host with planted answers."""

    n_vocab = None

    answers: Mapping[str, Any]
    asked: dict[str, Any] = field(default_factory=dict)

    def call(self, verb: str, request: object) -> Any:
        self.asked[verb] = request
        return self.answers[verb]


def child(**changes: Any) -> tuple[Host, Child]:
    filled = {
        "buffers": {
            "weights_bytes": 500 * MIB,
            "kv_cache_bytes": 64 * MIB,
            "compute_bytes": 36 * MIB,
            "context_tokens": 4096,
        },
        "pss_before_bytes": 540 * MIB,
        "pss_bytes": 642 * MIB,
        "peak_rss_bytes": 660 * MIB,
    }
    served = {
        "describe": {"name": "planted", "version": "1", "device": "cpu", "build": ""},
        "fill_context": {**filled, **changes},
        "repeat": np.arange(WARMUP_BATCHES + 60) * 4096,
    }
    found = Child(answers=served)
    return cast("Host", found), found


def value_of(check: str, samples: MemorySamples = SAMPLES, **parameters: float) -> float:
    found = samples.estimate(check, 0.95, {**BUDGET, **parameters})
    assert (found.low, found.high, found.n, found.method) == (found.value, found.value, 1, "exact")
    assert (found.unit, found.level) == (CHECKS[check].unit, 0.95)
    return found.value


def test_weights_are_the_loaded_bytes_over_the_references() -> None:
    assert value_of("memory.weights") == 500 / 1500


def test_a_token_in_the_cache_takes_what_the_header_says() -> None:
    assert value_of("memory.kv_cache") == 64 * MIB / 4096 / 16384 == 1.0


def test_a_cache_of_32_bits_reads_as_two() -> None:
    own = dataclasses.replace(OWN, kv_cache_bytes=128 * MIB)

    assert value_of("memory.kv_cache", dataclasses.replace(SAMPLES, artifact=own)) == 2.0


def test_a_header_that_does_not_tell_is_an_error_of_that_row_alone() -> None:
    silent = dataclasses.replace(
        SAMPLES, header_kv_bytes_per_token=None, header_problem="memory.kv_cache: no heads"
    )

    with pytest.raises(MeasurementError, match=r"^memory\.kv_cache: no heads$"):
        silent.estimate("memory.kv_cache", 0.95, {})
    assert value_of("memory.peak", silent) == value_of("memory.peak")


def test_the_peak_is_weights_cache_and_scratch_over_the_references() -> None:
    assert value_of("memory.peak") == (500 + 64 + 36) / (1500 + 64 + 36)


def test_the_peak_does_not_depend_on_who_else_maps_the_file() -> None:
    shared = dataclasses.replace(OWN, pss_bytes=300 * MIB, pss_before_bytes=250 * MIB)

    assert value_of("memory.peak", dataclasses.replace(SAMPLES, artifact=shared)) == value_of(
        "memory.peak"
    )


def test_peaks_at_different_contexts_are_not_compared() -> None:
    longer = dataclasses.replace(OWN, context_tokens=8192)

    with pytest.raises(MeasurementError, match="got 8192 tokens; expected the reference's 4096"):
        value_of("memory.peak", dataclasses.replace(SAMPLES, artifact=longer))


def test_a_peak_on_the_gpu_is_compared_with_one_on_the_gpu() -> None:
    own, theirs = (
        dataclasses.replace(one, device="gpu", device_peak_bytes=taken)
        for one, taken in ((OWN, 900 * MIB), (THEIRS, 1800 * MIB))
    )
    both = dataclasses.replace(SAMPLES, artifact=own, reference=theirs)

    assert value_of("memory.peak", both) == 0.5
    assert both.headline()["peak_memory_bytes"] == 900 * MIB
    with pytest.raises(MeasurementError, match=r"^memory\.peak: got the GPU's memory of one side"):
        value_of("memory.peak", dataclasses.replace(SAMPLES, artifact=own))


def test_the_budget_is_weights_scratch_and_every_sequences_cache() -> None:
    gib = 2**30

    assert value_of("memory.fits") == 600 * MIB / gib
    assert value_of("memory.fits", context=1024) == (536 + 16) * MIB / gib
    # beyond what was measured, scratch is taken to grow as the tokens do: never too small
    assert value_of("memory.fits", sequences=4) == (500 + 4 * 64 + 4 * 36) * MIB / gib
    assert value_of("memory.fits", context=8192, sequences=2) == value_of(
        "memory.fits", sequences=4
    )


@pytest.mark.parametrize(
    ("device", "is_vram", "line"),
    [
        ("cpu", 1.0, "memory.fits: vram_gib: this runtime serves from RAM; write ram_gib"),
        ("gpu", 0.0, "memory.fits: ram_gib: this runtime serves from VRAM; write vram_gib"),
    ],
)
def test_a_budget_of_the_other_memory_is_refused(device: str, is_vram: float, line: str) -> None:
    there = dataclasses.replace(SAMPLES, artifact=dataclasses.replace(OWN, device=device))

    with pytest.raises(MeasurementError) as caught:
        value_of("memory.fits", there, is_vram=is_vram)

    assert str(caught.value) == line


def test_growth_is_the_slope_of_the_series() -> None:
    noise = np.random.default_rng(0).normal(0, 4096, 60)
    series = 640 * MIB + 10_000 * np.arange(60) + noise
    growth = Growth(bytes=series, warmup_batches=60, looks=AT_ONCE)
    growing = dataclasses.replace(SAMPLES, growth=growth)

    found = growing.estimate("memory.growth", 0.95, {})

    assert found == stats.slope(series, level=0.95, unit="bytes")
    assert found.low < 10_000 < found.high
    assert found.low > 4096


def test_a_plateau_does_not_grow() -> None:
    found = SAMPLES.estimate("memory.growth", 0.95, {})

    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


def test_batches_that_warm_up_are_left_out() -> None:
    host, planted = child()

    growth = measure_growth(host, SETTINGS, n_vocab=64)

    assert growth.bytes.tolist() == (np.arange(WARMUP_BATCHES, WARMUP_BATCHES + 60) * 4096).tolist()
    asked = planted.asked["repeat"]
    assert asked.times == WARMUP_BATCHES + 60
    assert (asked.ids.dtype, asked.ids.max() < 64) == (np.int32, True)


@dataclass
class Repeating:
    """A host whose memory grows by so much a batch, and how often it was asked for how many."""

    n_vocab = None

    step_bytes: int
    asked: list[int] = field(default_factory=list)

    def call(self, verb: str, request: Repeats) -> Any:
        assert verb == "repeat"
        begin = sum(self.asked)
        self.asked.append(request.times)
        return np.arange(begin, begin + request.times) * self.step_bytes


@pytest.mark.parametrize(
    ("answers", "asked", "look"), [((True,), [60], 1), ((False, False), [60, 30], 2)]
)
def test_batches_end_where_the_row_is_decided(
    answers: tuple[bool, ...], asked: list[int], look: int
) -> None:
    host, said = Repeating(step_bytes=4096), iter(answers)

    growth = measure_growth(cast("Host", host), SETTINGS, 64, lambda _: next(said))

    assert host.asked == asked
    assert len(growth.bytes) == sum(asked) - WARMUP_BATCHES
    assert growth.details() == {"sequential": {"look": look, "looks": 2, "of_batches": 60}}
    assert growth.estimate(0.95).method.endswith(f", look {look} of 2")
    assert np.diff(growth.bytes).tolist() == [4096] * (len(growth.bytes) - 1)


@pytest.mark.parametrize(("batches", "ends"), [(30, (30,)), (39, (39,)), (40, (20, 40))])
def test_few_batches_are_looked_at_once(batches: int, ends: tuple[int, ...]) -> None:
    """Of as many as are the default there is a look at half of them."""
    assert batch_ends(batches) == ends
    assert len(batch_ends(MemorySettings().batches)) == 2


def test_lost_batches_are_refused() -> None:
    host, _ = child()

    with pytest.raises(MeasurementError, match=r"lost batches: got .*\(90,\); expected 91"):
        measure_growth(host, SETTINGS.model_copy(update={"batches": 61}), n_vocab=64)


def test_a_footprint_is_what_the_child_said() -> None:
    host, planted = child()

    assert measure_footprint(host, 4096) == OWN
    assert planted.asked["fill_context"] == 4096


def test_an_account_that_leaves_out_something_big_is_refused() -> None:
    # what llama-cpp-python's logits_all=True takes beside everything that llama.cpp logs
    host, _ = child(pss_bytes=540 * MIB + 2**30)

    with pytest.raises(MeasurementError, match=r"account leaves something out: got 1073741824"):
        measure_footprint(host, 4096)


@pytest.mark.parametrize("check", ROWS)
def test_the_report_holds_what_the_row_rests_on(check: str) -> None:
    kept = json.loads(json.dumps(SAMPLES.details(check), allow_nan=False))

    if check == "memory.growth":
        again = stats.slope(np.array(kept["anonymous_bytes"]), level=0.95, unit="bytes")
        assert again == SAMPLES.estimate(check, 0.95, {})
    else:
        assert kept["artifact"]["allocated_bytes"] == 600 * MIB
        assert kept["artifact"]["unaccounted_bytes"] == 2 * MIB
        assert kept["artifact"]["peak_rss_bytes"] == 660 * MIB


def test_every_row_of_memory_can_be_estimated() -> None:
    assert set(ROWS) == {check.name for check in CHECKS.values() if check.area == "memory"}
    for check in ROWS:
        assert SAMPLES.estimate(check, 0.9, BUDGET).unit == CHECKS[check].unit


def test_the_headline_is_for_a_table_of_artifacts() -> None:
    assert SAMPLES.headline() == {
        "peak_memory_bytes": 600 * MIB,
        "weights_bytes": 500 * MIB,
        "kv_cache_bytes_per_token": 16384.0,
    }
    assert SAMPLES.reference_headline()["weights_bytes"] == 1500 * MIB
