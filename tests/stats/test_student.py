from __future__ import annotations

import pytest

from qgate.stats import normal_quantile, t_quantile

scipy_stats = pytest.importorskip("scipy.stats")

DEGREES = (1, 1.5, 2, 2.7, 3, 9.3, 15, 63, 199, 200, 201, 1e3, 12_345.6, 1e5, 1e6)
PROBABILITIES = (1e-12, 1e-6, 0.025, 0.1, 0.49, 0.500001, 0.6, 0.95, 0.975, 0.9999, 1 - 1e-9)


@pytest.mark.parametrize("df", DEGREES)
def test_t_quantile_is_scipys(df: float) -> None:
    for p in PROBABILITIES:
        assert t_quantile(p, df) == pytest.approx(scipy_stats.t.ppf(p, df), rel=1e-9), p


def test_t_quantile_of_one_half_is_zero() -> None:
    assert t_quantile(0.5, 7) == 0.0


def test_normal_quantile_is_scipys() -> None:
    for p in PROBABILITIES:
        assert normal_quantile(p) == pytest.approx(scipy_stats.norm.ppf(p), rel=1e-9), p


@pytest.mark.parametrize(
    ("p", "df"), [(0.0, 5), (1.0, 5), (-0.1, 5), (float("nan"), 5), (0.5, 0.5), (0.9, float("inf"))]
)
def test_t_quantile_refuses_what_is_no_probability_or_df(p: float, df: float) -> None:
    with pytest.raises(ValueError, match="expected 0 < p < 1 and df >= 1"):
        t_quantile(p, df)
