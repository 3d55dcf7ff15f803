from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.stats import holm

multitest = pytest.importorskip("statsmodels.stats.multitest")


@pytest.mark.parametrize("count", [1, 2, 3, 10, 57])
def test_adjusted_p_values_are_statsmodels(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(4):
        p_values = rng.random(count) ** rng.choice([1, 3, 10])
        p_values[rng.random(count) < 0.2] = p_values[0]
        _, expected, _, _ = multitest.multipletests(p_values, method="holm")
        assert holm(p_values.tolist()) == pytest.approx(expected.tolist(), rel=1e-12)


def test_those_not_tested_count_as_never_rejected() -> None:
    p_values = [0.04, 0.001, 0.02]
    _, expected, _, _ = multitest.multipletests([*p_values, 1.0, 1.0], method="holm")
    assert holm(p_values, family=5) == pytest.approx(expected[:3].tolist())
    assert holm(p_values, family=3) == holm(p_values)


def test_the_example_of_the_textbook() -> None:
    """Wright 1992, Biometrics 48:1005, table 1: as R's `p.adjust(method = "holm")` gives it."""
    assert holm([0.01, 0.02, 0.022, 0.09]) == pytest.approx([0.04, 0.06, 0.06, 0.09])


def test_no_rows_have_no_p_values() -> None:
    assert holm([]) == []
    assert holm([], family=4) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=f"^Holm: got the p-value {bad}; expected one from 0 to 1"):
        holm([0.5, bad])


def test_a_family_smaller_than_what_was_tested_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^Holm: got a family of 1 with 2 p-values"):
        holm([0.5, 0.5], family=1)
