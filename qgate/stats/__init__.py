"""Intervals for measurements on tokens that come in documents: pure functions, named results."""

from __future__ import annotations

from qgate.stats.clustered import mean_interval, proportion_interval, quantile_interval
from qgate.stats.paired import perplexity, perplexity_increase, perplexity_ratio
from qgate.stats.student import normal_quantile, t_quantile

__all__ = [
    "mean_interval",
    "normal_quantile",
    "perplexity",
    "perplexity_increase",
    "perplexity_ratio",
    "proportion_interval",
    "quantile_interval",
    "t_quantile",
]
