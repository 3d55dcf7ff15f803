"""Is memory that does not grow rarely said to, and is a leak seen and sized as stated?

Each case is simulated with a known truth; the bounds are what the docstring of `qgate.stats.slope`
states, with three standard errors of the simulation as noise. What others do with the same draws
stands beside it: least squares of scipy and statsmodels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from qgate.stats import slope
from tests.stats.simulation import LEVEL, SEED, covers, noise

scipy_stats = pytest.importorskip("scipy.stats")
statsmodels = pytest.importorskip("statsmodels.api")

Series = Callable[[np.random.Generator, int], np.ndarray]


def white_noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.standard_normal(n)


def autoregressive(rng: np.random.Generator, n: int) -> np.ndarray:
    series = np.empty(n)
    last = rng.standard_normal() / 0.8
    for index, shock in enumerate(rng.standard_normal(n)):
        last = 0.6 * last + shock
        series[index] = last
    return series


def random_walk(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.cumsum(rng.standard_normal(n))


def steps_up(count: int, noise_mib: float) -> Series:
    """A plateau that rises by blocks of about 10 MiB at `count` random batches, and stays."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        sizes = rng.exponential(10.0, count)
        batches = rng.integers(1, n, count)
        rise = (np.arange(n)[:, None] >= batches) @ sizes
        return rise + noise_mib * rng.standard_normal(n)

    return draw


SERIES = {
    "white noise": (white_noise, 0.02),
    "AR(1) 0.6": (autoregressive, 0.02),
    "random walk": (random_walk, 0.03),
    "1 step up": (steps_up(1, 0.1), 0.03),
    "3 steps up": (steps_up(3, 0.1), 0.03),
    "3 steps up in noise": (steps_up(3, 3.0), 0.03),
    "4 steps up in noise": (steps_up(4, 3.0), 0.055),
}


def grows_by_stretches(series: np.ndarray) -> bool:
    return slope(series, level=LEVEL, unit="MiB per batch").low > 0.0


def grows_by_least_squares(series: np.ndarray) -> bool:
    whole = scipy_stats.linregress(np.arange(series.size), series, alternative="greater")
    return whole.pvalue <= 0.025


def said_to_grow(by: Callable, draw: Series, n: int, repetitions: int) -> float:
    rng = np.random.default_rng(SEED)
    return float(np.mean([by(draw(rng, n)) for _ in range(repetitions)]))


@pytest.mark.parametrize(
    ("n", "repetitions"),
    [(50, 1_000), *(pytest.param(n, 4_000, marks=pytest.mark.slow) for n in (12, 20, 50, 200))],
)
@pytest.mark.parametrize("name", SERIES)
def test_memory_that_does_not_grow_is_rarely_said_to(name: str, n: int, repetitions: int) -> None:
    draw, stated = SERIES[name]
    said = said_to_grow(grows_by_stretches, draw, n, repetitions)
    assert said <= stated + noise(stated, repetitions)


@pytest.mark.parametrize(
    ("name", "at_least"), [("AR(1) 0.6", 0.1), ("random walk", 0.3), ("1 step up", 0.8)]
)
def test_least_squares_on_the_whole_series_would_say_so_often(name: str, at_least: float) -> None:
    assert said_to_grow(grows_by_least_squares, SERIES[name][0], 50, 400) > at_least


def test_standard_errors_for_autocorrelation_would_not_mend_it() -> None:
    rng = np.random.default_rng(SEED)
    said = {"AR(1) 0.6": 0, "1 step up": 0}
    for name in said:
        for _ in range(300):
            design = statsmodels.add_constant(np.arange(50.0))
            fit = statsmodels.OLS(SERIES[name][0](rng, 50), design).fit(
                cov_type="HAC", cov_kwds={"maxlags": 4, "use_correction": True}, use_t=True
            )
            said[name] += fit.conf_int(0.05)[1, 0] > 0.0
    assert said["AR(1) 0.6"] > 0.06 * 300
    assert said["1 step up"] > 0.5 * 300


@pytest.mark.parametrize(
    ("n", "share", "seen"), [(20, 0.3, 0.6), (50, 0.3, 0.97), (50, 0.1, 0.35), (100, 0.1, 0.75)]
)
def test_a_leak_in_blocks_is_seen_and_sized_as_stated(n: int, share: float, seen: float) -> None:
    rng = np.random.default_rng(SEED)
    blocks = np.cumsum(rng.random((1_000, n)) < share, axis=1) / share
    series = blocks + 0.1 * rng.standard_normal(blocks.shape)
    found = [slope(row, level=LEVEL, unit="MiB per batch") for row in series]
    assert np.mean([e.low > 0.0 for e in found]) == pytest.approx(
        seen, abs=noise(seen, 1_000) + 0.01
    )
    if n * share >= 6:
        assert covers(found, 1.0) >= 0.92 - noise(0.92, 1_000)
