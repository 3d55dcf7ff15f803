from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import slope

scipy_stats = pytest.importorskip("scipy.stats")

LEVEL = 0.95
MIB = 2**20


def test_slope_is_the_t_interval_of_six_least_squares_lines() -> None:
    series = np.random.default_rng(1).standard_normal(61) + 0.1 * np.arange(61)
    slopes = [
        scipy_stats.linregress(np.arange(11), series[first : first + 11]).slope
        for first in range(0, 60, 10)
    ]
    interval = scipy_stats.ttest_1samp(slopes, 0.0).confidence_interval(LEVEL)
    estimate = slope(series, level=LEVEL, unit="MiB per batch")
    assert estimate.value == pytest.approx(np.mean(slopes))
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high))
    assert (estimate.n, estimate.unit, estimate.level) == (61, "MiB per batch", LEVEL)
    assert estimate.method == "t over slopes of 6 stretches (5 df)"


def test_white_noise_has_the_whole_series_slope_within_its_interval() -> None:
    series = np.random.default_rng(2).standard_normal(200) + 0.01 * np.arange(200)
    whole = scipy_stats.linregress(np.arange(200), series).slope
    estimate = slope(series, level=LEVEL, unit="MiB per batch")
    assert estimate.low < whole < estimate.high


@pytest.mark.parametrize("n", [7, 12, 50])
def test_constant_memory_does_not_grow_at_all(n: int) -> None:
    estimate = slope(np.full(n, 8 * 2**30 + 1), level=LEVEL, unit="bytes per batch")
    assert (estimate.value, estimate.low, estimate.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("n", [7, 12, 50])
def test_steady_growth_is_found_to_the_byte(n: int) -> None:
    series = 8 * 2**30 + 4_097 * np.arange(n)
    estimate = slope(series, level=LEVEL, unit="bytes per batch")
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((4_097,) * 3, rel=1e-12)


def plateau(steps: tuple[int, ...], n: int = 50) -> np.ndarray:
    """Memory that jumps by 64 MiB at the given batches, with 0.1 MiB of noise."""
    level = sum(64.0 * (np.arange(n) >= step) for step in steps)
    return level + 0.1 * np.random.default_rng(3).standard_normal(n)


@pytest.mark.parametrize("steps", [(9,), (25,), (8, 30), (3, 20, 41), (25, 26, 27)])
def test_a_plateau_that_steps_up_a_few_times_does_not_grow(steps: tuple[int, ...]) -> None:
    series = plateau(steps)
    assert slope(series, level=LEVEL, unit="MiB per batch").low < 0.0
    whole = scipy_stats.linregress(np.arange(50), series)
    assert whole.slope > 3 * whole.stderr


def test_memory_that_keeps_taking_blocks_grows() -> None:
    estimate = slope(plateau(tuple(range(4, 50, 5))), level=LEVEL, unit="MiB per batch")
    assert estimate.low > 0.0
    assert estimate.low <= 64 / 5 <= estimate.high


def test_memory_that_settles_after_its_first_batches_does_not_grow() -> None:
    settling = 100 * (1 - np.exp(-np.arange(50) / 4))
    assert slope(settling, level=LEVEL, unit="MiB per batch").low < 0.0


def test_no_step_is_lost_between_two_stretches() -> None:
    for step in range(1, 50):
        assert slope(1.0 * (np.arange(50) >= step), level=LEVEL, unit="").value > 0.0


def test_units_scale_and_a_common_level_cancels() -> None:
    series = plateau((9, 30))
    mib = slope(series, level=LEVEL, unit="MiB per batch")
    in_bytes = slope(2**33 + MIB * series, level=LEVEL, unit="bytes per batch")
    assert (in_bytes.low, in_bytes.value, in_bytes.high) == pytest.approx(
        (MIB * mib.low, MIB * mib.value, MIB * mib.high), rel=1e-9
    )


BAD = {
    "short": (
        [1.0] * 6,
        "too short a series: got shape (6,); expected at least 7 values, better 50. "
        "Measure more batches.",
    ),
    "a table": (
        [[1.0] * 9],
        "too short a series: got shape (1, 9); expected at least 7 values, better 50. "
        "Measure more batches.",
    ),
    "lost": (
        [1.0] * 9 + [math.nan],
        "1 of 10 values are not finite: got nan at index 9; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_series_are_refused_in_one_line(bad: str) -> None:
    values, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        slope(np.array(values), level=LEVEL, unit="bytes per batch")
    assert str(caught.value) == f"slope: {message}"
