"""Several members judged as one row: languages, context lengths; at an error for the whole family.

Where k undamaged members are looked at and the worst is picked, one in 20 intervals at 95 % is
wrong and picking finds it. Each member is therefore estimated at 1 - (1 - level) / k (Bonferroni;
Dunn 1961, doi:10.1080/01621459.1961.10482090), whatever the members have to do with each other, so
that all k intervals hold at once with at least `level`, and whichever is picked with them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from qgate.errors import MeasurementError, with_subject

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qgate.records import Estimate


def simultaneous(
    members: Mapping[str, Callable[[float], Estimate]], *, level: float
) -> dict[str, Estimate]:
    """Estimate every member so that all intervals hold at once with at least `level`.

    A `p_value` is multiplied by k, too.

    Args:
        members: by name, each from a level to an estimate of one common unit.
        level: of the family, e.g. 0.95; also what the estimates say.

    Raises:
        MeasurementError: no members, or one that could not be measured; its message names it.
    """
    if not members:
        raise MeasurementError("family: got no members; expected at least 1.")
    count = len(members)
    found = {
        name: _estimate(name, member, 1.0 - (1.0 - level) / count)
        for name, member in members.items()
    }
    return {name: _of_family(estimate, level, count) for name, estimate in found.items()}


def _estimate(name: str, member: Callable[[float], Estimate], level: float) -> Estimate:
    try:
        return member(level)
    except MeasurementError as error:
        raise with_subject(error, name) from error


def _of_family(found: Estimate, level: float, count: int) -> Estimate:
    p_value = None if found.p_value is None else min(1.0, count * found.p_value)
    method = found.method if count == 1 else f"{found.method}, Bonferroni over {count}"
    return dataclasses.replace(found, level=level, method=method, p_value=p_value)
