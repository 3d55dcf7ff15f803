from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.records import Estimate
from qgate.stats import paired_difference, simultaneous

if TYPE_CHECKING:
    from collections.abc import Callable

LEVEL = 0.95


def member(
    low: float, value: float, high: float, p_value: float | None = None
) -> Callable[[float], Estimate]:
    def estimate(level: float) -> Estimate:
        return Estimate(
            value=value,
            low=low,
            high=high,
            level=level,
            n=10,
            unit="ratio",
            method="t",
            p_value=p_value,
        )

    return estimate


FAMILY = {
    "narrow": member(1.02, 1.03, 1.04),
    "wide": member(0.80, 1.05, 1.30),
    "fine": member(0.90, 0.95, 1.00),
}


def test_every_member_pays_for_the_others() -> None:
    asked = []

    def asks(level: float) -> Estimate:
        asked.append(level)
        return FAMILY["fine"](level)

    found = simultaneous({"a": asks, "b": asks, "c": asks, "d": asks}, level=LEVEL)

    assert asked == pytest.approx([0.9875] * 4)
    assert list(found) == ["a", "b", "c", "d"]
    assert {estimate.level for estimate in found.values()} == {LEVEL}
    assert {estimate.method for estimate in found.values()} == {"t, Bonferroni over 4"}


def test_ends_and_values_stay_what_the_members_gave() -> None:
    found = simultaneous(FAMILY, level=LEVEL)
    ends = {name: (one.low, one.value, one.high) for name, one in found.items()}
    assert ends == {
        "narrow": (1.02, 1.03, 1.04),
        "wide": (0.80, 1.05, 1.30),
        "fine": (0.90, 0.95, 1.00),
    }


def test_a_family_of_one_is_that_member() -> None:
    assert simultaneous({"only": FAMILY["wide"]}, level=LEVEL) == {"only": FAMILY["wide"](LEVEL)}


def test_p_values_are_paid_for() -> None:
    family = {
        "small": member(-0.2, -0.1, 0.0, p_value=0.004),
        "none": member(-0.1, 0.0, 0.1, p_value=0.8),
    }
    found = simultaneous(family, level=LEVEL)
    assert {name: one.p_value for name, one in found.items()} == {
        "small": pytest.approx(0.008),
        "none": 1.0,
    }


def test_a_member_that_could_not_be_measured_voids_the_family_by_name() -> None:
    def lost(level: float) -> Estimate:
        return paired_difference(np.array([]), np.array([]), level=level)

    with pytest.raises(MeasurementError) as caught:
        simultaneous({**FAMILY, "swahili": lost}, level=LEVEL)
    assert str(caught.value) == (
        "swahili: paired difference: no items: got n = 0; expected at least 1."
    )


def test_no_members_are_no_measurement() -> None:
    with pytest.raises(MeasurementError) as caught:
        simultaneous({}, level=LEVEL)
    assert str(caught.value) == "family: got no members; expected at least 1."
