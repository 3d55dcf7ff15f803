"""Scores of answers, e.g. ROUGE-L or chrF from 0 to 1: the mean difference on the same items.

Agrees with `scipy.stats.ttest_rel` but for the skewness and a doubt: scores that hardly ever change
do not show how they vary. Their sum of squares is taken to be larger by z^2 * 4 / (4 + changed
items), so that n items without a change leave about the doubt of as many answers without a flip,
z^2 / n, and 200 changed ones next to none. Where items come in groups, these are what is counted.

Nominal 95 % covered in 0.945 to 1.00 of 6,000 simulated artifacts (50 to 1,319 items; scores that
change in all, in half, heavy-tailed, skewed, by half a score in 1 or 3 of 100), and 0 to 3.3 % of
those exactly at their limit were certified; by Student's t alone 2 to 22 %. More are where hardly
any item can lose while all scores vary a little: a half lost by 2 of 100 items, +-0.02 in the rest,
limit 1 point: 13 %. Groups that are hit whole, by 0.2 to 0.4 in 2.5 to 10 % of them, 10 to 200
groups: 0 %, but 8 % where 100 groups of 10 are held to 1 point. 50 items of which 10 % gain 0.45
and the others lose 0.05 set off an alarm at 5 % in 0.4 %, by Student's t alone in 11 %.
"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.clusters import clustered_mean, group_items, require_finite
from qgate.stats.student_t import normal_quantile
from qgate.stats.token_intervals import mean_ends, mean_tail

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qgate.stats.clusters import Clustered, Floats

_PRIOR_WEIGHT = 4.0
"""How many items, or groups, with a changed score halve the doubt about those not seen."""


def paired_scores(
    artifact: NDArray[Any],
    reference: NDArray[Any],
    groups: NDArray[Any] | None = None,
    *,
    level: float,
) -> Estimate:
    """Estimate mean(artifact) - mean(reference) of scores on the same items: t, paired.

    The outer ends of Student's t and the same corrected for skewness (see `mean_interval`), with
    the cluster-robust (CR2) standard error where items come in groups, and a doubt: see above.

    `p_value` is the one-sided one of "no worse" that goes with these ends.

    Args:
        artifact: from 0 to 1, shape (n,).
        reference: of the same items in the same order.
        groups: which items belong together, a label each, shape (n,).
        level: e.g. 0.95.

    Raises:
        MeasurementError: unpaired items, fewer than 2 or 2 groups, or a score outside 0 to 1.
    """
    artifact, reference = _scores("artifact", artifact), _scores("reference", reference)
    if artifact.shape != reference.shape:
        raise MeasurementError(
            f"paired scores: the two sides did not answer the same items: got {artifact.size} and "
            f"{reference.size} scores; expected pairs."
        )
    sample = group_items("paired scores", artifact - reference, groups)
    found = clustered_mean(sample)
    error = math.hypot(found.standard_error, _doubt(sample, level))
    found = dataclasses.replace(found, standard_error=error)
    low, high = mean_ends(found, level)
    return Estimate(
        value=found.mean,
        low=max(-1.0, low),
        high=min(1.0, high),
        level=level,
        n=sample.n,
        unit="difference",
        method=f"{_name(sample)}, skewness-corrected ({round(found.df, 1):g} df)",
        p_value=mean_tail(found),
        test="paired t",
    )


def _scores(side: str, scores: NDArray[Any]) -> Floats:
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 1:
        raise MeasurementError(
            f"paired scores, {side}: got shape {scores.shape}; expected one score per item."
        )
    require_finite(f"paired scores, {side}", scores)
    wrong = np.flatnonzero((scores < 0.0) | (scores > 1.0))
    if wrong.size:
        raise MeasurementError(
            f"paired scores, {side}: {wrong.size} of {scores.size} are no scores: got "
            f"{scores[wrong[0]]} at index {wrong[0]}; expected numbers from 0 to 1."
        )
    return scores


def _doubt(sample: Clustered, level: float) -> float:
    changed = len(np.unique(sample.index[sample.values != 0.0]))
    fade = _PRIOR_WEIGHT / (_PRIOR_WEIGHT + changed)
    groups = sample.n**2 / float(np.square(sample.sizes).sum())
    return normal_quantile(0.5 + level / 2.0) * math.sqrt(fade) / groups


def _name(sample: Clustered) -> str:
    return "paired t" if sample.sizes.size == sample.n else "paired t, cluster-robust"
