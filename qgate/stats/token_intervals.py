"""Intervals for a mean, a proportion and a quantile of tokens that come in documents.

All are two-sided at `level`, and documents are the independent draws: see `clusters.py`. What a
nominal 95 % interval did in 2,000 to 6,000 simulated texts of 255 tokens a document (`slipped`:
artifacts exactly at their limit that were certified, nominal 2.5 %), as held by
tests/stats/test_coverage.py:

    quantity, documents                                          covered        slipped
    KL mean, lognormal sigma 1.5 in and 0.5 between, 64          0.94 to 0.95   0.03 to 0.04
    the same, 16                                                 0.94 to 0.95   0.04 to 0.05
    its 99th percentile, 16 or 64                                0.94 to 0.96   0.02 to 0.04
    same top token, p = 0.92, logit-normal sigma 0.5, 16 or 64   0.95           0.02 to 0.03
    same top token, p = 0.995, 16 or 64                          0.96 to 0.99   0.00 to 0.02

The worse ends of these ranges are texts of unequal documents (40 to 800 tokens). The plain t
interval has 0.93 and 0.06 to 0.08 for the mean KL; the textbook interval for the same top token
0.6 to 0.9 where flags differ rarely and in a few documents only.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.clusters import (
    Clustered,
    ClusteredMean,
    Prior,
    clustered_mean,
    design_effect,
    group,
)
from qgate.stats.student_t import normal_quantile, t_quantile, t_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

# a share of 0.98 varies by +-0.02 between documents
_PRIOR = Prior(icc=0.02, weight=4.0)


def mean_interval(
    values: NDArray[Any],
    clusters: NDArray[Any],
    *,
    level: float,
    unit: str,
    floor: float | None = None,
) -> Estimate:
    """Estimate a mean over tokens: cluster-robust t, corrected for skewness.

    The ends are the outer ones of two intervals: Student's t with the CR2 standard error, and the
    same with Hall's cubic correction for skewness (Hall 1992, "On the removal of skewness by
    transformation", J. R. Stat. Soc. B 54). With a `floor` the first is taken on the scale
    log(mean - floor), as is usual for positive skewed quantities.

    Values that are all equal give that point, an interval of no width: right for the KL of a model
    against itself, which is 0 by construction; tokens have no reason to share any other value.

    Args:
        values: shape (n,).
        clusters: the document of each value, shape (n,).
        level: e.g. 0.95.
        unit: for the report.
        floor: what the quantity cannot be below, e.g. 0 for KL; the interval's lower end is held
            there. Values a rounding error below it are taken as they are.

    Raises:
        MeasurementError: fewer than 2 documents, or a value that is not finite.
    """
    sample = group("mean interval", values, clusters)
    found = clustered_mean(sample)
    low, high = mean_ends(found, level)
    method = f"cluster-robust t, skewness-corrected ({_number(found.df)} df)"
    if floor is not None:
        low, high = _hold_floor(found, level, floor)
        method = f"log-scale {method}"
    return Estimate(
        value=found.mean, low=low, high=high, level=level, n=sample.n, unit=unit, method=method
    )


def mean_ends(found: ClusteredMean, level: float) -> tuple[float, float]:
    """The outer ends of the plain and the skewness-corrected t interval."""
    t = t_quantile(0.5 + level / 2.0, found.df)
    low, high = _hall_ends(found, t)
    reach = t * found.standard_error
    return min(low, found.mean - reach), max(high, found.mean + reach)


def mean_tail(found: ClusteredMean) -> float:
    """The one-sided p-value of "the mean is not below 0" that goes with the upper of `mean_ends`.

    The larger of Student's and the skewness-corrected one: below p where the ends at level 1 - 2p
    lie below 0, and only there.
    """
    t = found.mean / found.standard_error
    return max(t_tail(-t, found.df), t_tail(-_hall(found, t), found.df))


def exponential(what: str, exponent: float) -> float:
    """Take exp, or say that the number has no use.

    Raises:
        MeasurementError: the result is beyond floating point.
    """
    try:
        return math.exp(exponent)
    except OverflowError:
        raise MeasurementError(
            f"{what}: out of range: got exp({exponent:.6g}); expected an exponent below 709. "
            f"The model is broken, or the text has too few documents for this level."
        ) from None


def proportion_interval(
    flags: NDArray[Any], clusters: NDArray[Any], *, level: float, unit: str
) -> Estimate:
    """Estimate the share of tokens whose flag is 1: Wilson's score interval, effective n.

    n is divided by the design effect (clustered over binomial variance, never below 1) and by
    (t / z)^2 for its few degrees of freedom (Korn & Graubard 1998, Survey Methodology 24; with
    Wilson 1927: Dean & Pagano 2015, doi:10.1093/jssam/smv024). The ends are the outer ones of that
    and of Hall's skewness-corrected t. One token a document: scipy's `binomtest`, "wilson".

    A handful of differing flags cannot show how they cluster, so the design effect is never taken
    below that of an intraclass correlation of 0.02, a bound that fades as 4 / (4 + documents with a
    differing flag). Equal flags rest on it alone: 64 x 255 of them certify 0.998, not 1.

    Args:
        flags: 0/1 or bool, shape (n,).
        clusters: the document of each flag, shape (n,).
        level: e.g. 0.95.
        unit: for the report.

    Raises:
        MeasurementError: fewer than 2 documents, or a flag that is neither 0 nor 1.
    """
    sample = group("proportion interval", flags, clusters)
    wrong = np.flatnonzero((sample.values != 0.0) & (sample.values != 1.0))
    if wrong.size:
        raise MeasurementError(
            f"proportion interval: {wrong.size} of {sample.n} flags are no flags: got "
            f"{sample.values[wrong[0]]} at index {wrong[0]}; expected 0 or 1."
        )
    found = clustered_mean(sample)
    effect = _design_effect(sample, found)
    z, t = normal_quantile(0.5 + level / 2.0), t_quantile(0.5 + level / 2.0, found.df)
    low, high = _wilson_ends(found.mean, sample.n / effect * (z / t) ** 2, z)
    skewed_low, skewed_high = _hall_ends(found, t)
    low, high = max(0.0, min(low, skewed_low)), min(1.0, max(high, skewed_high))
    method = f"Wilson score, clustered, design effect {effect:.2f} ({_number(found.df)} df)"
    return Estimate(
        value=found.mean, low=low, high=high, level=level, n=sample.n, unit=unit, method=method
    )


def quantile_interval(
    values: NDArray[Any], clusters: NDArray[Any], q: float, *, level: float, unit: str
) -> Estimate:
    """Estimate a quantile over tokens: Woodruff's interval under cluster sampling.

    The share of values up to the quantile has a clustered standard error; q -+ t * SE is read back
    through the empirical distribution (Woodruff 1952, doi:10.1080/01621459.1952.10483443; Francisco
    & Fuller 1991, doi:10.1214/aos/1176347993). The point interpolates sorted values at q * (n - 1):
    numpy's default and, to float32, llama-perplexity's `99.0%   KLD`, which has no uncertainty.
    R's `survey::svyquantile(interval.type = "mean")` differs by the CR2 factor and by the bound on
    the design effect that `proportion_interval` explains.

    Args:
        values: shape (n,).
        clusters: the document of each value, shape (n,).
        q: e.g. 0.99.
        level: e.g. 0.95.
        unit: for the report.

    Raises:
        MeasurementError: fewer than 2 documents, a value that is not finite, or too few tokens to
            bound the quantile on both sides; the largest value seen is no bound.
    """
    if not 0.0 < q < 1.0:
        raise ValueError(f"quantile interval: got q = {q}; expected 0 < q < 1")
    what = f"quantile interval ({q:g})"
    sample = group(what, values, clusters)
    value = float(np.quantile(sample.values, q))
    reach, df = _quantile_reach(what, sample, value, q, level)
    ends = np.clip([q - reach, q + reach], 0.0, 1.0)
    low, high = (float(end) for end in np.quantile(sample.values, ends))
    method = f"Woodruff, clustered ({_number(df)} df)"
    return Estimate(
        value=value, low=low, high=high, level=level, n=sample.n, unit=unit, method=method
    )


def _quantile_reach(
    what: str, sample: Clustered, value: float, q: float, level: float
) -> tuple[float, float]:
    """How far from q, as a share, the interval reaches on both sides; and its df."""
    beyond = (sample.values > value).astype(np.float64)
    tail = Clustered(values=beyond, index=sample.index, sizes=sample.sizes)
    found = clustered_mean(tail)
    effective_n = sample.n / _design_effect(tail, found)
    t = t_quantile(0.5 + level / 2.0, found.df)
    reach = t * math.sqrt(q * (1.0 - q) / effective_n)
    if reach > min(q, 1.0 - q) and sample.values.min() < sample.values.max():
        needed = math.ceil(t**2 * max(q / (1.0 - q), (1.0 - q) / q))
        raise MeasurementError(
            f"{what}: too little text to bound it: got {sample.n} tokens in {sample.sizes.size} "
            f"documents, worth {effective_n:.0f} independent ones; expected at least {needed}. "
            f"Score a longer text."
        )
    return reach, found.df


def _hall(found: ClusteredMean, t: float) -> float:
    """Hall's cubic transformation of t, whose inverse `_hall_ends` takes."""
    skewness = found.skewness
    return t + skewness * t**2 / 3.0 + skewness**2 * t**3 / 27.0 + skewness / 6.0


def _hall_ends(found: ClusteredMean, t: float) -> tuple[float, float]:
    skewness = found.skewness

    def untransformed(quantile: float) -> float:
        if abs(skewness) < 1e-6:  # the limit; the formula would divide two rounding errors
            return quantile
        inner = 1.0 + skewness * (quantile - skewness / 6.0)
        return 3.0 / skewness * (float(np.cbrt(inner)) - 1.0)

    error = found.standard_error
    return found.mean - error * untransformed(t), found.mean - error * untransformed(-t)


def _hold_floor(found: ClusteredMean, level: float, floor: float) -> tuple[float, float]:
    above = found.mean - floor
    if above <= 0.0 or found.standard_error == 0.0:
        low, high = mean_ends(found, level)
    else:
        t = t_quantile(0.5 + level / 2.0, found.df)
        low, high = _hall_ends(found, t)
        reach = t * found.standard_error / above
        low = min(low, floor + above * math.exp(-reach))
        high = max(high, floor + above * exponential("mean interval", reach))
    return max(low, min(floor, found.mean)), high


def _design_effect(flags: Clustered, found: ClusteredMean) -> float:
    share = found.mean
    is_rare = flags.values == (1.0 if share <= 0.5 else 0.0)
    return design_effect(
        flags, found, variance=share * (1.0 - share), is_rare=is_rare, prior=_PRIOR
    )


def _wilson_ends(p: float, n: float, z: float) -> tuple[float, float]:
    spread = z**2 / n
    centre = (p + spread / 2.0) / (1.0 + spread)
    reach = z * math.sqrt(p * (1.0 - p) / n + spread / (4.0 * n)) / (1.0 + spread)
    # at p = 0 and 1 the formula's end is p but for a rounding error
    return max(0.0, min(p, centre - reach)), min(1.0, max(p, centre + reach))


def _number(df: float) -> str:
    return f"{round(df, 1):g}"
