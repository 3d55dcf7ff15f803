"""Does memory grow from one identical batch to the next?

A memory series has no white noise: neighbours resemble each other, and an allocator takes pages in
blocks, so that a plateau steps up a few times and stays. Ordinary least squares over the whole
series reads such a step as growth. Here the series is cut into 6 stretches, each gives a slope of
its own, and Student's t is taken over the 6: growth is what most stretches share, and up to 3 of
them may hold a step (Ibragimov & Mueller 2010, doi:10.1198/jbes.2009.08046).

One-sided "grows" (low end above 0, nominal 0.025) without growth, in 10,000 series of 12 to 200:

    series                                      stretches         whole series
    white noise                                 0.00 to 0.02      0.025
    AR(1), 0.6                                  0.00 to 0.02      0.15 to 0.17
    1, 2 or 3 steps up, at random               0.00 to 0.03      0.43 to 1.00
    4 steps up of random size                   0.02 to 0.055     0.97 to 1.00
    random walk                                 0.02 to 0.03      0.30 to 0.46

Four equal steps without noise, each in another stretch, are called growth: it is what a leak looks
like. The price is width: 5 to 7 times that of least squares under white noise. A leak that takes a
block in 3 of 10 batches is seen in 0.6 of series of 20, 0.97 of 50; in 1 of 10 batches 0.35 of 50,
0.75 of 100. So measure 50 batches or more, after a warm-up.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats.clusters import require_finite
from qgate.stats.student_t import t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qgate.stats.clusters import Floats

_STRETCHES = 6


def slope(values: NDArray[Any], *, level: float, unit: str) -> Estimate:
    """Estimate the growth per step of a series: Student's t over the slopes of its 6 stretches.

    Neighbouring stretches share their border value, so that no step is lost between them. Each
    slope is `scipy.stats.linregress`'s, the interval `scipy.stats.ttest_1samp`'s of the 6. Values
    that are all equal give 0 without width.

    Args:
        values: one per step, in order, shape (n,).
        level: e.g. 0.95.
        unit: of the growth, e.g. bytes per batch.

    Raises:
        MeasurementError: a lost value, or fewer than 7.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or values.size < _STRETCHES + 1:
        raise MeasurementError(
            f"slope: too short a series: got shape {values.shape}; expected at least "
            f"{_STRETCHES + 1} values, better 50. Measure more batches."
        )
    require_finite("slope", values)
    borders = np.rint(np.linspace(0, values.size - 1, _STRETCHES + 1)).astype(np.intp)
    slopes = np.array(
        [_least_squares(values[first : last + 1]) for first, last in itertools.pairwise(borders)]
    )
    value = float(slopes.mean())
    standard_error = float(slopes.std(ddof=1)) / math.sqrt(_STRETCHES)
    reach = t_quantile(0.5 + level / 2.0, _STRETCHES - 1) * standard_error
    return Estimate(
        value=value,
        low=value - reach,
        high=value + reach,
        level=level,
        n=int(values.size),
        unit=unit,
        method=f"t over slopes of {_STRETCHES} stretches ({_STRETCHES - 1} df)",
    )


def _least_squares(values: Floats) -> float:
    steps = np.arange(values.size) - (values.size - 1) / 2.0
    # from the first value: byte counts are large, what they grow by is small
    return float(steps @ (values - values[0]) / (steps @ steps))
