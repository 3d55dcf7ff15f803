"""Intervals for what is measured, and what a paired test can see: pure functions, named results."""

from __future__ import annotations

from qgate.stats.group_sequential import (
    LOOKS,
    Looks,
    Plan,
    level_at_end,
    look_ends,
    plan_at,
    plan_looks,
    repeated_p_value,
)
from qgate.stats.mcnemar import mcnemar_clustered, mcnemar_exact
from qgate.stats.paired_proportions import paired_difference
from qgate.stats.paired_ratios import (
    median_ratio,
    percentile_interval,
    ratio_either_way,
    requests_needed,
)
from qgate.stats.paired_scores import paired_scores
from qgate.stats.perplexity import perplexity, perplexity_increase, perplexity_ratio
from qgate.stats.power import chance_to_certify, detectable_drop, items_to_certify
from qgate.stats.simultaneous import simultaneous
from qgate.stats.slope import slope
from qgate.stats.student_t import normal_quantile, t_quantile
from qgate.stats.token_intervals import mean_interval, proportion_interval, quantile_interval

__all__ = [
    "LOOKS",
    "Looks",
    "Plan",
    "chance_to_certify",
    "detectable_drop",
    "items_to_certify",
    "level_at_end",
    "look_ends",
    "mcnemar_clustered",
    "mcnemar_exact",
    "mean_interval",
    "median_ratio",
    "normal_quantile",
    "paired_difference",
    "paired_scores",
    "percentile_interval",
    "perplexity",
    "perplexity_increase",
    "perplexity_ratio",
    "plan_at",
    "plan_looks",
    "proportion_interval",
    "quantile_interval",
    "ratio_either_way",
    "repeated_p_value",
    "requests_needed",
    "simultaneous",
    "slope",
    "t_quantile",
]
