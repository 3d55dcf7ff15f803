"""A team's own samples, by the intervals of the checklist: `Estimate.share`, `Estimate.paired`."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from qgate.errors import MeasurementError
from qgate.stats.paired_proportions import paired_difference
from qgate.stats.paired_ratios import requests_needed
from qgate.stats.paired_scores import paired_scores
from qgate.stats.token_intervals import mean_interval, proportion_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.records import Estimate
    from qgate.stats.clusters import Floats


def share_of(passed: int, n: int, level: float) -> Estimate:
    """As `Estimate.share`: `proportion_interval` of answers that each stand for themselves.

    Of 10 to 400 answers, nominal 95 % covers in 0.949 to 1.00, and 0 to 2.6 % of artifacts exactly
    at their limit are certified, whatever the share.
    """
    if n < 2 or not 0 <= passed <= n:
        raise MeasurementError(
            f"share: got {passed} of {n}; expected at least 2 answers, and no more right than that."
            " Ask more"
        )
    flags = np.arange(n) < passed
    found = proportion_interval(flags, np.arange(n), level=level, unit="fraction")
    return dataclasses.replace(found, method="Wilson score, skewness-corrected")


def paired(
    artifact: Sequence[float],
    reference: Sequence[float],
    unit: str,
    more_is_worse: bool,
    level: float,
) -> Estimate:
    """As `Estimate.paired`."""
    own, theirs = (np.asarray(values, dtype=np.float64) for values in (artifact, reference))
    if own.ndim != 1 or own.shape != theirs.shape or own.size < 2:
        raise MeasurementError(
            f"paired: got {own.size} and {theirs.size} values; expected one for each item on both"
            " sides, at least 2"
        )
    if unit != "difference":
        largest = max(np.abs(own).max(), np.abs(theirs).max())
        _require_spread(own - theirs, 8 * float(np.spacing(largest)), level)
        found = mean_interval(own - theirs, np.arange(own.size), level=level, unit=unit)
        return dataclasses.replace(found, method=found.method.replace("cluster-robust", "paired"))
    both = np.concatenate([own, theirs])
    estimate = paired_difference if np.isin(both, (0.0, 1.0)).all() else paired_scores
    if not more_is_worse:
        return estimate(own, theirs, level=level)
    found = estimate(theirs, own, level=level)  # its p-value is that of damage upwards
    return dataclasses.replace(found, value=0 - found.value, low=-found.high, high=-found.low)


def _require_spread(differences: Floats, rounding: float, level: float) -> None:
    """Refuse few differences that are all the same: their interval would have no width.

    As many as bound a median (`requests_needed`) are believed. Of shares and scores the range is
    known, so that those without a change keep a doubt; of values in any unit it is not. Differences
    that differ by no more than `rounding` are the same.
    """
    fewest = requests_needed(0.5, level=level)
    if differences.size < fewest and np.ptp(differences) <= rounding:
        raise MeasurementError(
            f"paired: got {differences.size} differences that are all {differences[0]:g}; expected"
            f" at least {fewest} items, or values that vary. Ask more"
        )
