from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import median_ratio, percentile_interval, ratio_either_way, requests_needed
from qgate.stats.binomial import order_bounds
from qgate.stats.paired_ratios import _bootstrap_medians

scipy_stats = pytest.importorskip("scipy.stats")

LEVEL = 0.95


def log_ratios(n: int, seed: int = 1) -> np.ndarray:
    return 0.05 + 0.02 * np.random.default_rng(seed).standard_normal(n)


@pytest.mark.parametrize("n", [6, 12, 21, 24, 40, 199])
def test_ends_are_no_narrower_than_order_statistics_and_bootstrap(n: int) -> None:
    sample = log_ratios(n)
    estimate = median_ratio(sample, level=LEVEL)
    exact = scipy_stats.quantile_test(sample, q=0.05, p=0.5).confidence_interval(LEVEL)
    resampled = scipy_stats.bootstrap(
        (sample,), np.median, method="percentile", n_resamples=5_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert estimate.value == pytest.approx(math.exp(np.median(sample)))
    assert (estimate.low, estimate.high) == pytest.approx(
        (math.exp(exact.low), math.exp(exact.high))
    )
    assert estimate.low <= math.exp(resampled.low)
    assert estimate.high >= math.exp(resampled.high)


@pytest.mark.parametrize("n", [12, 21])
def test_bootstrap_medians_are_those_of_drawn_resamples(n: int) -> None:
    sample = np.sort(log_ratios(n))
    drawn = np.median(np.random.default_rng(3).choice(sample, (4_000, n)), axis=1)
    found = _bootstrap_medians(sample)
    assert scipy_stats.ks_2samp(found, drawn).pvalue > 0.01
    assert set(np.round(found, 12)) <= {
        round((low + high) / 2, 12) for low in sample for high in sample
    }


def test_same_values_give_the_same_interval() -> None:
    sample = log_ratios(24)
    shuffled = np.random.default_rng(4).permutation(sample)
    assert median_ratio(sample, level=LEVEL) == median_ratio(shuffled, level=LEVEL)


def test_swapping_the_sides_inverts_the_ratio() -> None:
    sample = log_ratios(24)
    there, back = median_ratio(sample, level=LEVEL), median_ratio(-sample, level=LEVEL)
    assert (1 / back.high, 1 / back.value, 1 / back.low) == pytest.approx(
        (there.low, there.value, there.high), rel=1e-12
    )


def test_one_wild_pair_moves_the_median_by_little() -> None:
    sample = log_ratios(24)
    spiked = sample.copy()
    spiked[np.argmax(sample)] = 5.0
    assert median_ratio(spiked, level=LEVEL) == median_ratio(sample, level=LEVEL)


def test_equal_pairs_give_that_ratio_without_width() -> None:
    estimate = median_ratio(np.zeros(12), level=LEVEL)
    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)
    assert (estimate.n, estimate.unit, estimate.level) == (12, "ratio", LEVEL)
    assert estimate.method == "exp of median, percentile bootstrap and order statistics"


@pytest.mark.parametrize(
    ("n", "level", "needed"), [(0, 0.95, 6), (5, 0.95, 6), (5, 0.8, 6), (8, 0.994, 9)]
)
def test_too_few_pairs_are_no_measurement(n: int, level: float, needed: int) -> None:
    with pytest.raises(MeasurementError) as caught:
        median_ratio(log_ratios(n), level=level)
    assert str(caught.value) == (
        f"median ratio: too few pairs: got {n}; expected at least {needed} at level {level}. "
        f"Measure more rounds."
    )


BAD = {
    "NaN": (
        [0.0] * 500 + [math.nan],
        "1 of 501 values are not finite: got nan at index 500; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
    "infinity": (
        [-math.inf] + [0.0] * 500,
        "1 of 501 values are not finite: got -inf at index 0; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_lost_values_are_refused_in_one_line(bad: str) -> None:
    values, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        median_ratio(np.array(values), level=LEVEL)
    assert str(caught.value) == f"median ratio: {message}"
    with pytest.raises(MeasurementError) as caught:
        percentile_interval(np.array(values), 0.9, level=LEVEL, unit="ms")
    assert str(caught.value) == f"percentile interval (0.9): {message}"


def test_a_table_is_no_sample() -> None:
    with pytest.raises(MeasurementError) as caught:
        percentile_interval(np.zeros((2, 9)), 0.5, level=LEVEL, unit="ms")
    assert str(caught.value) == (
        "percentile interval (0.5): got shape (2, 9); expected one value per request."
    )


def latencies_ms(n: int) -> np.ndarray:
    return 100 * np.random.default_rng(5).lognormal(0.0, 0.5, n)


@pytest.mark.parametrize(
    ("n", "percentile", "level"),
    [(12, 0.5, 0.95), (100, 0.9, 0.95), (459, 0.99, 0.98), (1_000, 0.95, 0.98), (300, 0.02, 0.9)],
)
def test_percentile_is_numpys_and_its_ends_scipys(n: int, percentile: float, level: float) -> None:
    sample = latencies_ms(n)
    estimate = percentile_interval(sample, percentile, level=level, unit="ms")
    exact = scipy_stats.quantile_test(sample, p=percentile).confidence_interval(level)
    assert estimate.value == np.quantile(sample, percentile, method="inverted_cdf")
    assert (estimate.low, estimate.high) == (exact.low, exact.high)
    assert (estimate.n, estimate.unit, estimate.level) == (n, "ms", level)


@pytest.mark.parametrize("percentile", [0.07, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("level", [0.05, 0.5, 0.98])
def test_percentile_lies_in_its_interval(percentile: float, level: float) -> None:
    for n in range(500, 520):
        estimate = percentile_interval(np.arange(n), percentile, level=level, unit="ms")
        assert estimate.low <= estimate.value <= estimate.high


def lengths(rng: np.random.Generator, n: int, shift: float) -> np.ndarray:
    """Log ratios of token counts, a third of them equal on both sides."""
    reference = 1 + rng.negative_binomial(2, 0.08, n)
    drawn = reference * np.exp(shift + 0.3 * rng.standard_normal(n))
    artifact = np.where(rng.random(n) < 1 / 3, reference, np.maximum(1, np.rint(drawn)))
    return np.log(artifact) - np.log(reference)


@pytest.mark.parametrize("shift", [0.0, 0.05, -0.2])
def test_ratio_either_way_covers_how_far_apart_lengths_are(shift: float) -> None:
    rng = np.random.default_rng(7)
    truth = np.exp(abs(lengths(rng, 400_000, shift).mean())) if shift else 1.0
    found = [ratio_either_way(lengths(rng, 96, shift), level=0.95) for _ in range(2_000)]
    covered = np.mean([one.low <= truth <= one.high for one in found])
    assert 0.935 <= covered <= 0.99


def test_ratio_either_way_is_the_t_interval_folded() -> None:
    values = np.random.default_rng(1).normal(-0.3, 0.1, 40)
    found = ratio_either_way(values, level=0.95)
    oracle = scipy_stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert found.value == pytest.approx(np.exp(-values.mean()))
    # corrected for skewness: a little wider than Student's
    assert 1.0 < found.low <= np.exp(-oracle.high) * (1 + 1e-9)
    assert np.exp(-oracle.low) * (1 - 1e-9) <= found.high <= np.exp(-oracle.low) * 1.02
    assert ratio_either_way(-values, level=0.95).low == pytest.approx(found.low, rel=1e-3)


def test_lengths_that_do_not_differ_are_one_to_one() -> None:
    found = ratio_either_way(np.random.default_rng(2).normal(0, 0.2, 60), level=0.95)
    assert found.low == 1.0 <= found.value <= found.high
    same = ratio_either_way(np.zeros(60), level=0.95)
    assert (same.low, same.value, same.high) == (1.0, 1.0, 1.0)


MLPERF = {0.5: (7, 11, 22), 0.9: (44, 64, 127), 0.95: (90, 130, 259), 0.99: (459, 662, 1307)}
"""Requests that MLPerf's early stopping asks for at 99 % one-sided confidence: 0, 1, 5 over."""


@pytest.mark.parametrize("percentile", MLPERF)
def test_requests_needed_are_mlperfs(percentile: float) -> None:
    needed = requests_needed(percentile, level=0.98)
    assert needed == MLPERF[percentile][0]
    for over, n in zip((0, 1, 5), MLPERF[percentile], strict=True):
        assert order_bounds(n, percentile, 0.98)[1] == n - over
        assert order_bounds(n - 1, percentile, 0.98)[1] == n - over


@pytest.mark.parametrize("percentile", MLPERF)
def test_percentile_with_too_few_requests_is_no_measurement(percentile: float) -> None:
    needed = requests_needed(percentile, level=0.98)
    sample = latencies_ms(needed)
    assert percentile_interval(sample, percentile, level=0.98, unit="ms").high == sample.max()
    with pytest.raises(MeasurementError) as caught:
        percentile_interval(sample[1:], percentile, level=0.98, unit="ms")
    assert str(caught.value) == (
        f"percentile interval ({percentile}): too few values to bound it: got {needed - 1}; "
        f"expected at least {needed} at level 0.98. Send more requests, or gate a lower percentile."
    )


def test_a_low_percentile_needs_as_many_to_bound_it_from_below() -> None:
    with pytest.raises(MeasurementError, match=r"got 458; expected at least 459 at level 0\.98"):
        percentile_interval(latencies_ms(458), 0.01, level=0.98, unit="ms")


@pytest.mark.parametrize(("percentile", "level"), [(99, 0.98), (0.0, 0.98), (0.99, 1.0)])
def test_percentiles_are_shares(percentile: float, level: float) -> None:
    with pytest.raises(ValueError, match=r"expected shares, e\.g\. 0\.99 and 0\.98"):
        requests_needed(percentile, level=level)
