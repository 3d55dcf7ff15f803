"""Several alarms on one artifact: that any goes off by chance is held to the error of one.

Alarms that go by a p-value are one family for each artifact. Their p-values are multiplied by its
size (Bonferroni): however they depend on each other, an undamaged artifact sets off any of them in
at most the error of one. The size is the number of limits, known before anything is measured: a row
that is skipped or could not be measured counts too, so that no verdict depends on another row.
Holm's method would show the same artifacts as damaged, and only more of their rows.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qgate.checks import find_check

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.records import Estimate, Limit


def is_in_family(limit: Limit) -> bool:
    """Whether it is an alarm that goes by a p-value: on a difference of shares or scores."""
    is_paired = limit.is_paired or find_check(limit.check).is_paired
    return limit.rule == "alarm" and is_paired


def family_size(limits: Mapping[str, Limit]) -> int:
    """How many of an artifact's limits share one error; at least 1."""
    return max(1, sum(map(is_in_family, limits.values())))


def adjust(estimate: Estimate, limit: Limit, family: int) -> Estimate:
    """The estimate, its p-value multiplied by the size of the family that its limit belongs to."""
    p_value = estimate.p_value
    if p_value is None or not is_in_family(limit) or not 0 <= p_value <= 1:
        return estimate  # judging refuses what is not a p-value
    return dataclasses.replace(estimate, p_value=min(1.0, p_value * family))
