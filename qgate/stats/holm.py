"""Several alarms at once: p-values adjusted so that one false alarm among them all stays rare.

Of ten undamaged rows, each tested at 5 %, one or more cries damage in up to 40 % of runs. After
Holm's adjustment (Holm 1979, Scand. J. Stat. 6:65) that share is at most 5 %, whatever the rows
have to do with each other, and never with less power than Bonferroni's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def holm(p_values: Sequence[float], family: int | None = None) -> list[float]:
    """Adjust p-values by Holm's step-down procedure, in the order given.

    Agrees with statsmodels' `multipletests(method="holm")` and R's `p.adjust(method = "holm")`,
    whose `n` is `family`.

    Args:
        p_values: of the hypotheses tested in this run.
        family: how many hypotheses there are, those that were not tested included. They count as
            never rejected, which makes it only stricter. None: those tested.

    Raises:
        ValueError: a p-value that is none, or a family smaller than what was tested.
    """
    size = len(p_values) if family is None else family
    if size < len(p_values):
        raise ValueError(
            f"Holm: got a family of {size} with {len(p_values)} p-values; expected no fewer"
        )
    for p_value in p_values:
        if not 0.0 <= p_value <= 1.0:  # NaN fails this, too
            raise ValueError(f"Holm: got the p-value {p_value}; expected one from 0 to 1")
    adjusted, largest = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (size - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
