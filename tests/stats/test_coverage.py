"""Do the intervals hold what they say? Each case is 2,000 simulated texts with a known truth.

`covered` is the share of intervals that hold the truth; `slipped` the share of artifacts exactly at
their limit that the rule "certify" lets pass: the interval's far end lies on the good side of the
truth. Both are held to what the docstrings of `qgate.stats` state, with three standard errors of
the simulation as noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import pytest

from qgate.records import Estimate
from qgate.stats import (
    mean_interval,
    perplexity_increase,
    perplexity_ratio,
    proportion_interval,
    quantile_interval,
)

REPETITIONS = 2_000
LEVEL = 0.95
DOCUMENTS = {
    "64": np.repeat(np.arange(64), 255),
    "16": np.repeat(np.arange(16), 255),
    "64 unequal": np.repeat(np.arange(64), np.random.default_rng(7).integers(40, 800, 64)),
    "16 unequal": np.repeat(np.arange(16), np.random.default_rng(8).integers(40, 800, 16)),
}

Draw = Callable[[np.random.Generator, np.ndarray], Estimate]


def per_document(rng: np.random.Generator, clusters: np.ndarray) -> np.ndarray:
    """One standard normal number per document, given to each of its tokens."""
    return rng.standard_normal(clusters[-1] + 1)[clusters]


def heavy_tailed_kl(rng: np.random.Generator, clusters: np.ndarray) -> np.ndarray:
    inside = rng.standard_normal(clusters.size)
    return np.exp(1.5 * inside + 0.5 * per_document(rng, clusters))


MEAN_KL = math.exp((1.5**2 + 0.5**2) / 2)
P99_KL = math.exp(NormalDist().inv_cdf(0.99) * math.hypot(1.5, 0.5))


def kl_mean(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
    values = heavy_tailed_kl(rng, clusters)
    return mean_interval(values, clusters, level=LEVEL, unit="nats", floor=0.0)


def kl_p99(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
    values = heavy_tailed_kl(rng, clusters)
    return quantile_interval(values, clusters, 0.99, level=LEVEL, unit="nats")


def logit_for(p: float) -> float:
    """The logit whose share, averaged over documents of sigma 0.5, is p."""
    grid = np.linspace(-6.0, 6.0, 2_001)
    weights = np.exp(-(grid**2) / 2) / np.exp(-(grid**2) / 2).sum()
    low, high = 0.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        average = float(np.sum(weights / (1 + np.exp(-middle - 0.5 * grid))))
        low, high = (middle, high) if average < p else (low, middle)
    return low


def same_top_flags(p: float) -> Callable[[np.random.Generator, np.ndarray], np.ndarray]:
    logit = logit_for(p)

    def draw(rng: np.random.Generator, clusters: np.ndarray) -> np.ndarray:
        share = 1 / (1 + np.exp(-logit - 0.5 * per_document(rng, clusters)))
        return rng.random(clusters.size) < share

    return draw


def same_top(p: float) -> Draw:
    flags = same_top_flags(p)
    return lambda rng, clusters: proportion_interval(
        flags(rng, clusters), clusters, level=LEVEL, unit="fraction"
    )


def rare_flips_in_few_documents(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
    share = rng.beta(0.999 * 49, 0.001 * 49, clusters[-1] + 1)[clusters]
    return proportion_interval(
        rng.random(clusters.size) < share, clusters, level=LEVEL, unit="fraction"
    )


def nll_pairs(rng: np.random.Generator, clusters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean 2 nats; the artifact's 0.03 more; the noise grows with the token's difficulty."""
    hard = np.exp(0.2 * per_document(rng, clusters) - 0.02)
    reference = rng.gamma(0.8, 2.5, clusters.size) * hard
    shift = 0.03 + 0.02 * per_document(rng, clusters)
    noise = 0.15 * np.sqrt(reference) * rng.standard_t(5, clusters.size)
    return reference + shift + noise, reference


def ratio(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
    return perplexity_ratio(*nll_pairs(rng, clusters), clusters, level=LEVEL)


def increase(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
    return perplexity_increase(*nll_pairs(rng, clusters), clusters, level=LEVEL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    draw: Draw
    documents: str
    truth: float
    covered: float = 0.95
    slipped: float = 0.025
    good_side: str = "below"
    """Where an artifact is better: `below` the limit, or `above` it."""


MEAN_INCREASE = math.exp(2.03) - math.exp(2.0)
CASES = {
    "kl mean, 64": Case(draw=kl_mean, documents="64", truth=MEAN_KL, slipped=0.03),
    "kl mean, 16": Case(draw=kl_mean, documents="16", truth=MEAN_KL, covered=0.94, slipped=0.045),
    "kl mean, 64 unequal": Case(
        draw=kl_mean, documents="64 unequal", truth=MEAN_KL, covered=0.94, slipped=0.04
    ),
    "kl mean, 16 unequal": Case(
        draw=kl_mean, documents="16 unequal", truth=MEAN_KL, covered=0.935, slipped=0.05
    ),
    "kl p99, 64": Case(draw=kl_p99, documents="64", truth=P99_KL, covered=0.94, slipped=0.03),
    "same top 0.92, 64": Case(
        draw=same_top(0.92), documents="64", truth=0.92, slipped=0.03, good_side="above"
    ),
    "same top 0.92, 16": Case(
        draw=same_top(0.92), documents="16", truth=0.92, slipped=0.0325, good_side="above"
    ),
    "same top 0.995, 64": Case(
        draw=same_top(0.995), documents="64", truth=0.995, good_side="above"
    ),
    "rare flips in few documents, 64": Case(
        draw=rare_flips_in_few_documents, documents="64", truth=0.999, good_side="above"
    ),
    "ratio, 64": Case(draw=ratio, documents="64", truth=math.exp(0.03)),
    "ratio, 16": Case(draw=ratio, documents="16", truth=math.exp(0.03)),
    "increase, 64": Case(draw=increase, documents="64", truth=MEAN_INCREASE, slipped=0.03),
    "increase, 16 unequal": Case(
        draw=increase, documents="16 unequal", truth=MEAN_INCREASE, slipped=0.035
    ),
}


def noise(share: float) -> float:
    return 3 * math.sqrt(share * (1 - share) / REPETITIONS)


def simulate(draw: Draw, clusters: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    estimates = [draw(rng, clusters) for _ in range(REPETITIONS)]
    return np.array([e.low for e in estimates]), np.array([e.high for e in estimates])


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_interval_covers_and_certifies_as_stated(name: str) -> None:
    case = CASES[name]
    low, high = simulate(case.draw, DOCUMENTS[case.documents], seed=20_261_123)
    covered = np.mean((low <= case.truth) & (case.truth <= high))
    slipped = np.mean(high < case.truth if case.good_side == "below" else low > case.truth)
    assert covered >= case.covered - noise(case.covered)
    assert slipped <= case.slipped + noise(case.slipped)


def naive_interval(values: np.ndarray) -> Estimate:
    """What most tools print: tokens as independent draws."""
    mean = float(np.mean(values))
    reach = 1.96 * float(np.std(values, ddof=1)) / math.sqrt(values.size)
    return Estimate(
        value=mean,
        low=mean - reach,
        high=mean + reach,
        level=LEVEL,
        n=values.size,
        unit="",
        method="naive",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw_values", "truth"),
    [(heavy_tailed_kl, MEAN_KL), (same_top_flags(0.92), 0.92)],
    ids=["kl mean", "same top 0.92"],
)
def test_tokens_taken_as_independent_cover_far_less(draw_values: Callable, truth: float) -> None:
    def draw(rng: np.random.Generator, clusters: np.ndarray) -> Estimate:
        return naive_interval(draw_values(rng, clusters))

    low, high = simulate(draw, DOCUMENTS["64"], seed=20_261_123)
    assert np.mean((low <= truth) & (truth <= high)) < 0.75
