"""Intervals for what is measured, and what a paired test can see: pure functions, named results."""

from __future__ import annotations

from qgate.stats.clustered import mean_interval, proportion_interval, quantile_interval
from qgate.stats.families import simultaneous
from qgate.stats.paired import perplexity, perplexity_increase, perplexity_ratio
from qgate.stats.proportions import detectable_drop, mcnemar_exact, paired_difference
from qgate.stats.ratios import (
    median_ratio,
    percentile_interval,
    ratio_either_way,
    requests_needed,
)
from qgate.stats.slope import slope
from qgate.stats.student import normal_quantile, t_quantile

__all__ = [
    "detectable_drop",
    "mcnemar_exact",
    "mean_interval",
    "median_ratio",
    "normal_quantile",
    "paired_difference",
    "percentile_interval",
    "perplexity",
    "perplexity_increase",
    "perplexity_ratio",
    "proportion_interval",
    "quantile_interval",
    "ratio_either_way",
    "requests_needed",
    "simultaneous",
    "slope",
    "t_quantile",
]
