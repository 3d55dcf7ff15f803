"""Tokens grouped by document, and the standard error of their mean.

Tokens of one document resemble each other, so that documents, not tokens, are the independent
draws. The mean is the ratio sum(values) / n over documents of unequal size; with the residual total
e_g of document g, its share h_g = n_g / n of the tokens, and G documents,

    SE^2 = sum_g e_g^2 / (1 - h_g) / n^2        (CR2; Bell & McCaffrey 2002, Survey Methodology 28)

which for documents of equal size is the linearised (Taylor) variance with the factor G / (G - 1).
Degrees of freedom are Satterthwaite's under equal token variance: G - 1 for equal sizes, fewer
where a few documents hold most tokens (Imbens & Kolesar 2016, doi:10.1162/REST_a_00552).

Agrees with R's clubSandwich (`vcov = "CR2"`, `test = "Satterthwaite"`) for an intercept, and for
equal sizes with `scipy.stats.ttest_1samp` on document means and statsmodels' `cov_type="cluster"`.
llama-perplexity, lm-evaluation-harness and most leaderboards treat tokens or items as independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qgate.errors import MeasurementError

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Clustered:
    """Checked values, finite and at least one per cluster, from at least two clusters."""

    values: Floats
    """Shape (n,)."""
    index: NDArray[np.intp]
    """The cluster of each value, numbered from 0; shape (n,)."""
    sizes: Floats
    """Values per cluster, shape (clusters,)."""

    @property
    def n(self) -> int:
        return int(self.values.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusteredMean:
    """A mean with what an interval for it needs."""

    mean: float
    standard_error: float
    df: float
    """Satterthwaite degrees of freedom."""
    skewness: float
    """Of the mean's sampling distribution, estimated from the clusters' residual totals."""


def group(what: str, values: NDArray[Any], clusters: NDArray[Any]) -> Clustered:
    """Check values and group them by cluster label.

    Args:
        what: how messages call the quantity, e.g. `mean interval`.
        values: shape (n,).
        clusters: labels of any sortable kind, shape (n,).

    Raises:
        MeasurementError: shapes differ, a value is not finite, or there are fewer than 2 clusters.
    """
    values = np.asarray(values, dtype=np.float64)
    clusters = np.asarray(clusters)
    if values.ndim != 1 or values.shape != clusters.shape:
        raise MeasurementError(
            f"{what}: values and documents do not match: got shapes {values.shape} and "
            f"{clusters.shape}; expected one document label per value."
        )
    require_finite(what, values)
    labels, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if labels.size < 2:
        documents = "1 document" if labels.size == 1 else "0 documents"
        raise MeasurementError(
            f"{what}: no interval without independent documents: got {documents}; "
            f"expected at least 2 documents. Score a longer text."
        )
    return Clustered(values=values, index=index, sizes=sizes.astype(np.float64))


def group_items(what: str, values: NDArray[Any], groups: NDArray[Any] | None) -> Clustered:
    """Check one value per item and group them by label; None: each item for itself.

    Raises:
        MeasurementError: a label is missing, a value is not finite, or all are of one group.
    """
    labels = np.arange(len(values)) if groups is None else np.asarray(groups)
    if labels.shape != (len(values),):
        raise MeasurementError(
            f"{what}: items and groups do not match: got shapes ({len(values)},) and "
            f"{labels.shape}; expected one group label per item."
        )
    count = len(np.unique(labels))
    if count < 2:
        word = "item" if groups is None else "group"
        raise MeasurementError(
            f"{what}: too few to tell how they differ: got {count} {word}; expected at least 2 "
            f"{word}s. Add items."
        )
    return group(what, values, labels)


def require_finite(what: str, values: Floats) -> None:
    """Refuse NaN and infinity: a lost sample is never dropped.

    Raises:
        MeasurementError: naming the first such value and its index.
    """
    lost = np.flatnonzero(~np.isfinite(values))
    if lost.size:
        raise MeasurementError(
            f"{what}: {lost.size} of {values.size} values are not finite: got {values[lost[0]]} at "
            f"index {lost[0]}; expected finite numbers. Nothing is dropped; see the runtime's log."
        )


def clustered_mean(sample: Clustered) -> ClusteredMean:
    """Estimate the mean over all values, with its cluster-robust (CR2) standard error."""
    values, share = sample.values, sample.sizes / sample.n
    # the average of equal numbers can miss them by a rounding error: here it must not
    same = bool(values.min() == values.max())
    mean = float(values[0]) if same else float(values.mean())
    totals = np.bincount(sample.index, weights=values - mean, minlength=share.size)
    residuals = totals / np.sqrt(1.0 - share)
    squares = float(np.sum(residuals**2))
    return ClusteredMean(
        mean=mean,
        standard_error=math.sqrt(squares) / sample.n,
        df=_satterthwaite_df(share),
        skewness=_skewness(residuals, squares),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What is believed of values that differ too rarely to show how they cluster."""

    icc: float
    """An intraclass correlation."""
    weight: float
    """How many clusters with a differing value halve the belief."""


def design_effect(
    sample: Clustered,
    found: ClusteredMean,
    *,
    variance: float,
    is_rare: NDArray[np.bool_],
    prior: Prior,
) -> float:
    """Clustered over independent variance, bounded below while differing values are few.

    Args:
        sample: what is asked about.
        found: its mean.
        variance: of one value, were they independent.
        is_rare: which values differ from what is usual, shape (n,).
        prior: what the bound comes from.
    """
    independent = variance / sample.n
    estimated = found.standard_error**2 / independent if independent > 0.0 else 1.0
    differing = np.bincount(sample.index, weights=is_rare, minlength=sample.sizes.size)
    fade = prior.weight / (prior.weight + np.count_nonzero(differing))
    typical_size = float(np.sum(sample.sizes**2)) / sample.n
    return max(estimated, 1.0 + prior.icc * (typical_size - 1.0) * float(fade))


def _satterthwaite_df(share: Floats) -> float:
    """Satterthwaite's df of the CR2 variance of an intercept, working independence, closed form."""
    leverage = share**2 / (1.0 - share)
    df = 1.0 / (np.sum(share**2) + np.sum(leverage) ** 2 - np.sum(leverage**2))
    return max(1.0, float(df))  # 2 documents give 1 but for a rounding error


def _skewness(residuals: Floats, squares: float) -> float:
    """Skewness of the mean: that of one cluster (adjusted Fisher-Pearson) over sqrt(clusters)."""
    count = residuals.size
    if count < 3 or squares == 0.0:
        return 0.0
    adjustment = math.sqrt(count * (count - 1)) / (count - 2)
    return adjustment * float(np.sum((residuals / math.sqrt(squares)) ** 3))
