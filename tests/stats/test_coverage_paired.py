"""Do the intervals for tasks and latency hold what they say?

Each case is simulated with a known truth, which scipy gives where it is no constant. `covered` is
the share of intervals that hold it; the bounds are what the docstrings of `qgate.stats` state, with
three standard errors of the simulation as noise. What others do with the same draws stands beside
it: the textbook's intervals of statsmodels and scipy.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.stats import median_ratio, paired_difference, percentile_interval, simultaneous
from tests.stats.simulation import LEVEL, SEED, covers, noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from qgate.records import Estimate

scipy_stats = pytest.importorskip("scipy.stats")
statsmodels = pytest.importorskip("statsmodels.api")


def paired_answers(
    rng: np.random.Generator, n: int, flips: float, drop: float
) -> tuple[np.ndarray, np.ndarray]:
    """The share `flips` flips both ways alike, and `drop` of the items are lost besides."""
    kind = rng.random(n)
    is_gained = kind < flips / 2
    is_lost = (kind >= flips / 2) & (kind < flips + drop)
    reference = np.where(is_gained, False, is_lost | (rng.random(n) < 0.75))
    return reference ^ is_gained ^ is_lost, reference


PAIRED = {
    "50 items, 10 % flips": (50, 0.10, 0.0, 0.94),
    "200 items, 6 % flips": (200, 0.06, 0.0, 0.94),
    "200 items, 3 % flips, 5 points lost": (200, 0.03, 0.05, 0.94),
    "1319 items, 6 % flips, 2 points lost": (1_319, 0.06, 0.02, 0.945),
    "50 items, 1 % flips": (50, 0.01, 0.0, 0.98),
}


@pytest.mark.parametrize("repetitions", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", PAIRED)
def test_paired_difference_covers_and_certifies_as_stated(name: str, repetitions: int) -> None:
    n, flips, drop, stated = PAIRED[name]
    rng = np.random.default_rng(SEED)
    found = [
        paired_difference(*paired_answers(rng, n, flips, drop), level=LEVEL)
        for _ in range(repetitions)
    ]
    certified = np.mean([estimate.low > -drop for estimate in found])
    assert covers(found, -drop) >= stated - noise(stated, repetitions)
    assert certified <= 0.03 + noise(0.03, repetitions)


@pytest.mark.parametrize(("flips", "drop"), [(0.1, 0.0), (0.06, 0.04), (0.3, 0.1)])
def test_paired_difference_covers_when_every_outcome_is_counted(flips: float, drop: float) -> None:
    n = 50
    shares = [flips / 2, flips / 2 + drop, 1 - flips - drop]
    trinomial = scipy_stats.multinomial(n, shares)
    covered = 0.0
    for gained in range(21):
        for lost in range(31):
            chance = trinomial.pmf([gained, lost, max(0, n - gained - lost)])
            if chance > 1e-7:
                artifact, reference = np.zeros(n, bool), np.zeros(n, bool)
                artifact[:gained] = reference[gained : gained + lost] = True
                found = paired_difference(artifact, reference, level=LEVEL)
                covered += chance * (found.low <= -drop <= found.high)
    assert 0.94 < covered < 0.97


def test_textbook_interval_for_pairs_covers_far_less_where_flips_are_few() -> None:
    rng = np.random.default_rng(SEED)
    covered = []
    for _ in range(1_000):
        artifact, reference = paired_answers(rng, 50, 0.03, 0.02)
        differences = artifact.astype(float) - reference
        wald = statsmodels.stats.DescrStatsW(differences)
        low, high = wald.zconfint_mean(0.05)
        covered.append(low <= -0.02 <= high)
    assert np.mean(covered) < 0.85


SIDES = {
    "normal": scipy_stats.norm(0.05, 0.02),
    "exponential": scipy_stats.expon(-0.1, 0.1),
    "laplace": scipy_stats.laplace(0.05, 0.02),
}


@pytest.mark.parametrize("repetitions", [500, pytest.param(3_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("n", [6, 12, 17, 24, 40])
@pytest.mark.parametrize("name", SIDES)
def test_median_ratio_covers_at_least_its_level(name: str, n: int, repetitions: int) -> None:
    truth = math.exp(SIDES[name].median())
    draws = SIDES[name].rvs((repetitions, n), random_state=np.random.default_rng(SEED))
    found = [median_ratio(draw, level=LEVEL) for draw in draws]
    damage_shown = np.mean([estimate.low > truth for estimate in found])
    assert covers(found, truth) >= LEVEL - noise(LEVEL, repetitions)
    assert damage_shown <= 0.025 + noise(0.025, repetitions)


@pytest.mark.parametrize("n", [8, 15, 21])
def test_bootstrap_of_a_small_median_alone_covers_less(n: int) -> None:
    rng = np.random.default_rng(SEED)
    draws = rng.standard_normal((1_500, n))
    ends = scipy_stats.bootstrap(
        (draws,), np.median, axis=-1, method="percentile", n_resamples=500, rng=rng
    ).confidence_interval
    assert np.mean((ends.low <= 0) & (ends.high >= 0)) < 0.94


PERCENTILES = {
    "p50 of 24": (24, 0.5, 0.95),
    "p90 of 44": (44, 0.9, 0.98),
    "p95 of 200": (200, 0.95, 0.95),
    "p99 of 662": (662, 0.99, 0.98),
}


@pytest.mark.parametrize("name", PERCENTILES)
def test_percentile_covers_at_least_its_level_and_each_end_half_of_it(name: str) -> None:
    n, percentile, level = PERCENTILES[name]
    latency = scipy_stats.lognorm(0.5, scale=100.0)
    draws = latency.rvs((1_500, n), random_state=np.random.default_rng(SEED))
    found = [percentile_interval(draw, percentile, level=level, unit="ms") for draw in draws]
    truth = float(latency.ppf(percentile))
    assert covers(found, truth) >= level - noise(level, len(found))
    beyond = (1 - level) / 2
    for is_wrong in (
        np.mean([e.high < truth for e in found]),
        np.mean([e.low > truth for e in found]),
    ):
        assert is_wrong <= beyond + noise(beyond, len(found))


def undamaged_task(rng: np.random.Generator) -> Callable[[float], Estimate]:
    sides = paired_answers(rng, 200, 0.06, 0.0)
    return lambda level: paired_difference(*sides, level=level)


def undamaged_latency(rng: np.random.Generator) -> Callable[[float], Estimate]:
    sample = 0.02 * rng.standard_normal(24)
    return lambda level: median_ratio(sample, level=level)


def excludes_no_damage(member: Callable, truth: float, repetitions: int) -> tuple[float, float]:
    """Over families of 8: how often an interval of theirs does, and how often one at plain 95 %."""
    rng = np.random.default_rng(SEED)
    by_family = by_any = 0
    for _ in range(repetitions):
        family = {str(index): member(rng) for index in range(8)}
        together = simultaneous(family, level=LEVEL).values()
        alone = [estimate(LEVEL) for estimate in family.values()]
        by_family += not all(found.low <= truth <= found.high for found in together)
        by_any += not all(found.low <= truth <= found.high for found in alone)
    return by_family / repetitions, by_any / repetitions


def test_of_eight_undamaged_members_none_shows_damage() -> None:
    by_family, by_any = excludes_no_damage(undamaged_task, 0.0, 400)
    assert by_family <= 0.05 + noise(0.05, 400)
    assert by_any > 0.2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("member", "truth"),
    [(undamaged_task, 0.0), (undamaged_latency, 1.0)],
    ids=["task", "latency"],
)
def test_of_eight_undamaged_members_none_shows_damage_at_length(
    member: Callable, truth: float
) -> None:
    by_family, by_any = excludes_no_damage(member, truth, 2_000)
    assert by_family <= 0.05 + noise(0.05, 2_000)
    assert by_any > 0.15
