from __future__ import annotations

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import mean_interval, proportion_interval, quantile_interval, t_quantile
from qgate.stats.clusters import clustered_mean, group

scipy_stats = pytest.importorskip("scipy.stats")

SIZES = {"equal": (40,) * 12, "unequal": (5, 200, 17, 80, 1, 33, 64, 120)}


def documents(sizes: tuple[int, ...]) -> np.ndarray:
    return np.repeat(np.arange(len(sizes)), sizes)


def symmetric(rng: np.random.Generator, clusters: np.ndarray) -> np.ndarray:
    return rng.standard_normal(clusters.size) + rng.standard_normal(clusters.max() + 1)[clusters]


def skewed(rng: np.random.Generator, clusters: np.ndarray) -> np.ndarray:
    return np.exp(symmetric(rng, clusters))


def cr2_by_matrices(values: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """CR2 standard error and Satterthwaite df of an intercept, from the textbook's matrices."""
    n = values.size
    ones = np.ones((n, 1))
    hat = ones @ ones.T / n
    residuals = (np.eye(n) - hat) @ values
    rows = []
    for cluster in np.unique(clusters):
        own = np.flatnonzero(clusters == cluster)
        block = np.eye(own.size) - hat[np.ix_(own, own)]
        roots, vectors = np.linalg.eigh(block)
        adjust = vectors @ np.diag(roots**-0.5) @ vectors.T
        rows.append((np.eye(n) - hat)[:, own] @ adjust @ np.ones(own.size) / n)
    weights = np.array(rows)
    variance = float(np.sum((weights @ residuals) ** 2))
    covariance = weights @ weights.T
    df = float(np.trace(covariance) ** 2 / np.sum(covariance**2))
    return variance**0.5, df


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_standard_error_and_df_are_the_textbooks_cr2(sizes: tuple[int, ...]) -> None:
    clusters = documents(sizes)
    values = skewed(np.random.default_rng(1), clusters)
    found = clustered_mean(group("test", values, clusters))
    assert (found.standard_error, found.df) == pytest.approx(cr2_by_matrices(values, clusters))


def test_equal_documents_give_the_t_interval_of_document_means() -> None:
    clusters = documents(SIZES["equal"])
    values = symmetric(np.random.default_rng(2), clusters)
    means = values.reshape(12, 40).mean(axis=1)
    expected = scipy_stats.ttest_1samp(means, 0.0)
    found = clustered_mean(group("test", values, clusters))
    assert found.df == pytest.approx(11)
    assert found.mean / found.standard_error == pytest.approx(expected.statistic)
    assert found.skewness * 12**0.5 == pytest.approx(scipy_stats.skew(means, bias=False))
    interval = expected.confidence_interval(0.9)
    estimate = mean_interval(values, clusters, level=0.9, unit="nats")
    assert estimate.low <= interval.low
    assert estimate.high >= interval.high
    assert estimate.high - estimate.low <= 1.1 * (interval.high - interval.low)


def test_mean_weighs_tokens_not_documents() -> None:
    estimate = mean_interval([0.0, 0.0, 0.0, 4.0], list("aaab"), level=0.95, unit="nats")
    assert estimate.value == 1.0
    assert estimate.n == 4


def test_order_and_names_of_documents_do_not_matter() -> None:
    clusters = documents(SIZES["unequal"])
    values = skewed(np.random.default_rng(3), clusters)
    shuffled = np.random.default_rng(4).permutation(values.size)
    names = np.array([f"document-{9 - index}" for index in clusters])
    plain = mean_interval(values, clusters, level=0.95, unit="nats")
    other = mean_interval(values[shuffled], names[shuffled], level=0.95, unit="nats")
    for end in ("value", "low", "high"):
        assert getattr(other, end) == pytest.approx(getattr(plain, end), rel=1e-12)


def test_skewed_values_reach_farther_up_than_down() -> None:
    clusters = documents((255,) * 32)
    estimate = mean_interval(
        skewed(np.random.default_rng(5), clusters), clusters, level=0.95, unit="nats"
    )
    assert estimate.high - estimate.value > 1.1 * (estimate.value - estimate.low)


def test_a_model_against_itself_has_a_divergence_of_exactly_zero() -> None:
    clusters = documents(SIZES["equal"])
    zeros = np.zeros(clusters.size)
    mean = mean_interval(zeros, clusters, level=0.95, unit="nats", floor=0.0)
    tail = quantile_interval(zeros, clusters, 0.99, level=0.95, unit="nats")
    assert (mean.value, mean.low, mean.high) == (0.0, 0.0, 0.0)
    assert (tail.value, tail.low, tail.high) == (0.0, 0.0, 0.0)


def test_equal_values_give_that_value_without_a_rounding_error() -> None:
    clusters = documents(SIZES["unequal"])
    estimate = mean_interval(np.full(clusters.size, 0.1), clusters, level=0.95, unit="nats")
    assert (estimate.value, estimate.low, estimate.high) == (0.1, 0.1, 0.1)


def test_floor_holds_the_lower_end_only() -> None:
    values, clusters = [0.0, 0.0, 0.0, 5.0, 0.0, 0.1], [0, 0, 1, 1, 2, 2]
    free = mean_interval(values, clusters, level=0.95, unit="nats")
    held = mean_interval(values, clusters, level=0.95, unit="nats", floor=0.0)
    assert free.low < 0.0
    assert held.low == 0.0
    assert held.high >= free.high


def test_a_mean_that_rounding_put_below_the_floor_is_taken_as_it_is() -> None:
    values = np.array([-2e-9, 1e-9, -1e-9, 0.0])
    estimate = mean_interval(values, [0, 0, 1, 1], level=0.95, unit="nats", floor=0.0)
    assert estimate.low == estimate.value == pytest.approx(-5e-10)


def test_one_token_per_document_gives_the_wilson_interval() -> None:
    flags = np.random.default_rng(6).random(20_000) < 0.9
    wilson = scipy_stats.binomtest(int(flags.sum()), flags.size).proportion_ci(0.95, "wilson")
    estimate = proportion_interval(flags, np.arange(flags.size), level=0.95, unit="fraction")
    assert estimate.value == flags.mean()
    assert (estimate.low, estimate.high) == pytest.approx((wilson.low, wilson.high), abs=1e-4)


def test_clustered_flags_are_worth_fewer_tokens() -> None:
    clusters = documents((255,) * 64)
    rng = np.random.default_rng(7)
    alike = rng.random(64)[clusters] < 0.6
    estimate = proportion_interval(alike, clusters, level=0.95, unit="fraction")
    documents_only = scipy_stats.binomtest(int(alike[::255].sum()), 64).proportion_ci(
        0.95, "wilson"
    )
    assert estimate.high - estimate.low == pytest.approx(
        documents_only.high - documents_only.low, rel=0.1
    )


@pytest.mark.parametrize("flag", [0, 1])
def test_equal_flags_leave_a_doubt(flag: int) -> None:
    clusters = documents((255,) * 64)
    estimate = proportion_interval(
        np.full(clusters.size, flag), clusters, level=0.95, unit="fraction"
    )
    doubt = (estimate.low, estimate.high) if flag == 0 else (1 - estimate.high, 1 - estimate.low)
    assert estimate.value == flag
    assert doubt == (0.0, pytest.approx(0.0015, abs=1e-4))


def test_one_differing_flag_certifies_no_more_than_none_does_to_three_digits() -> None:
    clusters = documents((255,) * 64)
    lows = []
    for differing in range(4):
        flags = np.ones(clusters.size)
        flags[np.arange(differing) * 300] = 0.0
        lows.append(proportion_interval(flags, clusters, level=0.95, unit="fraction").low)
    assert max(lows) - lows[0] < 5e-4


def test_quantile_is_numpys_and_llama_perplexitys() -> None:
    clusters = documents((255,) * 16)
    values = skewed(np.random.default_rng(8), clusters)
    ordered, position = np.sort(values), 0.9 * (values.size - 1)
    below = int(position)
    expected = ordered[below] + (position - below) * (ordered[below + 1] - ordered[below])
    estimate = quantile_interval(values, clusters, 0.9, level=0.95, unit="nats")
    assert estimate.value == pytest.approx(expected, rel=1e-12)
    assert estimate.low < estimate.value < estimate.high


def test_median_of_independent_values_has_the_order_statistics_interval() -> None:
    values = np.random.default_rng(9).standard_normal(4_000)
    estimate = quantile_interval(values, np.arange(4_000), 0.5, level=0.95, unit="nats")
    ordered = np.sort(values)
    low, high = scipy_stats.binom.ppf([0.025, 0.975], 4_000, 0.5).astype(int)
    assert (estimate.low, estimate.high) == pytest.approx(
        (ordered[low - 1], ordered[high]), abs=2e-3
    )


def test_quantile_that_the_text_cannot_bound_is_no_measurement() -> None:
    clusters = documents((50,) * 4)
    values = skewed(np.random.default_rng(10), clusters)
    with pytest.raises(MeasurementError) as caught:
        quantile_interval(values, clusters, 0.99, level=0.95, unit="nats")
    needed = int(np.ceil(t_quantile(0.975, 3) ** 2 * 99))
    assert str(caught.value).startswith(
        "quantile interval (0.99): too little text to bound it: got 200 tokens in 4 documents, "
    )
    assert str(caught.value).endswith(f"; expected at least {needed}. Score a longer text.")


INTERVALS = {
    "mean interval": lambda values, clusters: mean_interval(
        values, clusters, level=0.95, unit="nats"
    ),
    "proportion interval": lambda values, clusters: proportion_interval(
        values, clusters, level=0.95, unit="fraction"
    ),
    "quantile interval (0.5)": lambda values, clusters: quantile_interval(
        values, clusters, 0.5, level=0.95, unit="nats"
    ),
}
NAN, INF = float("nan"), float("inf")
BAD = {
    "one document": (
        [1.0, 0.0],
        [0, 0],
        "no interval without independent documents: got 1 document; expected at least 2 documents. "
        "Score a longer text.",
    ),
    "nothing": (
        [],
        [],
        "no interval without independent documents: got 0 documents; "
        "expected at least 2 documents. Score a longer text.",
    ),
    "NaN": (
        [1.0, 0.0, NAN, NAN],
        [0, 0, 1, 1],
        "2 of 4 values are not finite: got nan at index 2; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
    "infinity": (
        [1.0, -INF],
        [0, 1],
        "1 of 2 values are not finite: got -inf at index 1; expected finite numbers. "
        "Nothing is dropped; see the runtime's log.",
    ),
    "lost label": (
        [1.0, 0.0, 1.0],
        [0, 1],
        "values and documents do not match: got shapes (3,) and (2,); "
        "expected one document label per value.",
    ),
}


@pytest.mark.parametrize("interval", INTERVALS)
@pytest.mark.parametrize("bad", BAD)
def test_bad_samples_are_refused_in_one_line(interval: str, bad: str) -> None:
    values, clusters, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        INTERVALS[interval](np.array(values), np.array(clusters))
    assert str(caught.value) == f"{interval}: {message}"


def test_flags_other_than_0_and_1_are_refused() -> None:
    with pytest.raises(MeasurementError) as caught:
        proportion_interval([1.0, 0.0, 0.5], [0, 1, 1], level=0.95, unit="fraction")
    assert str(caught.value) == (
        "proportion interval: 1 of 3 flags are no flags: got 0.5 at index 2; expected 0 or 1."
    )
