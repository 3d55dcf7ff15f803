from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.stats import (
    chance_to_certify,
    detectable_drop,
    items_to_certify,
    mcnemar_exact,
    paired_difference,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

scipy_stats = pytest.importorskip("scipy.stats")

LEVEL = 0.95
SEED = 20_261_125
DRAWN = 4_000


@cache
def low_end(gained: int, lost: int, n: int, level: float) -> float:
    artifact, reference = np.zeros(n, bool), np.zeros(n, bool)
    artifact[:gained] = reference[gained : gained + lost] = True
    return paired_difference(artifact, reference, level=level).low


def shares(flip_rate: float, drop: float) -> list[float]:
    return [flip_rate / 2, flip_rate / 2 + drop, 1 - flip_rate - drop]


def all_flips(n: int) -> Iterator[tuple[int, int]]:
    return ((gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained))


@pytest.mark.parametrize(("n", "margin", "flip_rate"), [(30, 0.2, 0.1), (40, 0.1, 0.1)])
@pytest.mark.parametrize("drop", [0.0, 0.05])
def test_chances_are_sums_over_every_outcome(
    n: int, margin: float, flip_rate: float, drop: float
) -> None:
    trinomial = scipy_stats.multinomial(n, shares(flip_rate, drop))
    certified = 0.0
    for gained, lost in all_flips(n):
        mass = trinomial.pmf([gained, lost, n - gained - lost])
        certified += mass * (low_end(gained, lost, n, LEVEL) >= -margin)
    found = chance_to_certify(n, margin, flip_rate, LEVEL, drop=drop)
    assert found == pytest.approx(certified, abs=1e-9)


@pytest.mark.parametrize(
    ("n", "flip_rate", "drop"), [(200, 0.06, 0.0), (1_319, 0.1, 0.01), (5_000, 0.03, 0.02)]
)
def test_as_many_simulated_artifacts_are_certified(n: int, flip_rate: float, drop: float) -> None:
    """4,000 draws: three standard errors are at most 0.024."""
    drawn = np.random.default_rng(SEED).multinomial(n, shares(flip_rate, drop), DRAWN)
    certified = np.mean([low_end(int(g), int(lost), n, LEVEL) >= -0.02 for g, lost, _ in drawn])
    chance = chance_to_certify(n, 0.02, flip_rate, LEVEL, drop=drop)
    noise = 3 * math.sqrt(chance * (1 - chance) / DRAWN) + 1e-9
    assert certified == pytest.approx(chance, abs=noise)


@pytest.mark.parametrize("n", [50, 200, 1_319, 1_500, 5_000, 20_000])
@pytest.mark.parametrize("flip_rate", [0.03, 0.06, 0.1])
@pytest.mark.parametrize("margin", [0.01, 0.02, 0.05])
def test_an_artifact_that_loses_the_margin_is_certified_as_rarely_as_stated(
    n: int, flip_rate: float, margin: float
) -> None:
    """Summed, not simulated. Nominal 0.025; `paired_difference` states 0.01 to 0.03."""
    most = 0.0255 if n * flip_rate >= 9 else 0.03
    assert chance_to_certify(n, margin, flip_rate, LEVEL, drop=margin) <= most


TEXTBOOK = {
    (0.01, 0.06): (3_710, 3_745, 4_765),
    (0.02, 0.03): (464, 530, 682),
    (0.02, 0.06): (928, 965, 1_226),
    (0.02, 0.10): (1_546, 1_565, 1_987),
    (0.03, 0.06): (413, 450, 568),
}
"""Margin and flips: the textbook's items one-sided at 5 %, those of level 0.9 and of 0.95."""


@pytest.mark.parametrize(("margin", "flip_rate"), TEXTBOOK)
def test_items_to_certify_are_somewhat_more_than_the_textbooks(
    margin: float, flip_rate: float
) -> None:
    textbook, one_sided, two_sided = TEXTBOOK[margin, flip_rate]
    z = scipy_stats.norm.ppf(0.95) + scipy_stats.norm.ppf(0.8)
    assert textbook == pytest.approx(z**2 * flip_rate / margin**2, rel=3e-3)
    assert items_to_certify(margin, flip_rate, 0.9) == one_sided
    assert items_to_certify(margin, flip_rate, LEVEL) == two_sided


@pytest.mark.parametrize(("margin", "flip_rate"), [(0.02, 0.06), (0.05, 0.05), (0.1, 0.0)])
def test_one_item_fewer_is_too_few_and_more_change_little(margin: float, flip_rate: float) -> None:
    n = items_to_certify(margin, flip_rate, LEVEL)
    assert chance_to_certify(n - 1, margin, flip_rate, LEVEL) < 0.8
    assert chance_to_certify(n, margin, flip_rate, LEVEL) >= 0.8
    more = [chance_to_certify(n + k, margin, flip_rate, LEVEL) for k in range(1, 60)]
    assert min(more) >= 0.8 - 0.02


def test_more_power_takes_more_items() -> None:
    assert items_to_certify(0.02, 0.06, LEVEL, power=0.9) > 1.2 * items_to_certify(
        0.02, 0.06, LEVEL
    )


def test_fewer_than_three_flips_are_counted_as_three() -> None:
    assert chance_to_certify(100, 0.1, 0.0, LEVEL) == chance_to_certify(100, 0.1, 0.03, LEVEL)
    assert chance_to_certify(2, 0.02, 0.06, LEVEL) == 0.0


def test_a_margin_that_millions_could_not_certify_is_refused() -> None:
    with pytest.raises(MeasurementError) as caught:
        items_to_certify(1e-6, 0.06, LEVEL)
    assert str(caught.value) == (
        "items to certify: got a margin of 1e-06 at 0.06 flips; expected one that 1,000,000 items "
        "can show. Widen the margin."
    )


@pytest.mark.parametrize(
    ("n", "margin", "flip_rate", "drop"),
    [
        (0, 0.02, 0.06, 0.0),
        (9, 0.0, 0.06, 0.0),
        (9, 1.0, 0.06, 0.0),
        (9, 0.02, -0.1, 0.0),
        (9, 0.02, 0.6, 0.5),
        (9, 0.02, math.nan, 0.0),
        (9, 0.02, 0.06, -0.1),
    ],
)
def test_what_is_no_share_is_refused(n: int, margin: float, flip_rate: float, drop: float) -> None:
    with pytest.raises(ValueError, match=f"^chance to certify: got n = {n}, margin = {margin}, "):
        chance_to_certify(n, margin, flip_rate, LEVEL, drop=drop)


def power_by_enumeration(n: int, flips: int, drop: float, alpha: float) -> float:
    shares = flips / n / 2, flips / n / 2 + drop
    outcomes = [
        (gained, lost, n - gained - lost)
        for gained, lost in all_flips(n)
        if mcnemar_exact(lost, gained) <= alpha
    ]
    trinomial = scipy_stats.multinomial(n, [*shares, 1 - sum(shares)])
    return float(trinomial.pmf(outcomes).sum())


@pytest.mark.parametrize(("n", "flips"), [(20, 3), (60, 6), (60, 20)])
@pytest.mark.parametrize("alpha", [0.05, 1 / 32, 0.01])
def test_drop_is_the_smallest_with_that_power(n: int, flips: int, alpha: float) -> None:
    drop = detectable_drop(n, flips, alpha=alpha)
    assert power_by_enumeration(n, flips, drop, alpha) == pytest.approx(0.8, abs=1e-5)
    assert power_by_enumeration(n, flips, 0.99 * drop, alpha) < 0.8


@pytest.mark.parametrize(("n", "flips"), [(100, 6), (1_319, 79), (14_042, 842)])
def test_an_artifact_at_that_drop_is_seen_four_times_in_five(n: int, flips: int) -> None:
    drop = detectable_drop(n, flips, alpha=0.05)
    gained_share = flips / n / 2
    shares = [gained_share, gained_share + drop, 1 - 2 * gained_share - drop]
    drawn = np.random.default_rng(11).multinomial(n, shares, 2_000)
    seen = np.mean([mcnemar_exact(int(lost), int(gained)) <= 0.05 for gained, lost, _ in drawn])
    assert seen == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / 2_000))


def test_drop_nears_the_textbooks_from_above() -> None:
    drops = [detectable_drop(n, n * 6 // 100, alpha=0.05) for n in (1_000, 10_000, 100_000)]
    textbook = [2.4865 * math.sqrt(0.06 / n) for n in (1_000, 10_000, 100_000)]
    excess = [drop / plain - 1 for drop, plain in zip(drops, textbook, strict=True)]
    assert 0.25 > excess[0] > excess[1] > excess[2] > 0
    assert excess[2] < 0.03


def test_fewer_than_three_flips_count_as_three() -> None:
    drops = [detectable_drop(200, flips, alpha=0.05) for flips in range(5)]
    assert drops[0] == drops[1] == drops[2] == drops[3] < drops[4]


def test_more_power_or_less_alpha_needs_a_larger_drop() -> None:
    plain = detectable_drop(200, 12, alpha=0.05)
    assert detectable_drop(200, 12, alpha=0.05, power=0.9) > plain
    assert detectable_drop(200, 12, alpha=0.025) > plain


def test_items_that_can_show_no_drop_are_refused() -> None:
    with pytest.raises(MeasurementError) as caught:
        detectable_drop(8, 0, alpha=0.05)
    assert str(caught.value) == (
        "detectable drop: too few items to show any: got n = 8 with 0 flips; expected enough for "
        "a p-value of 0.05 with power 0.8. Add items."
    )


@pytest.mark.parametrize(
    ("n", "flips", "alpha", "power"), [(5, 6, 0.05, 0.8), (5, -1, 0.05, 0.8), (5, 1, 0.9, 0.8)]
)
def test_detectable_drop_refuses_what_is_no_count_or_share(
    n: int, flips: int, alpha: float, power: float
) -> None:
    with pytest.raises(ValueError, match=f"^detectable drop: got n = {n}, flips = {flips}, "):
        detectable_drop(n, flips, alpha=alpha, power=power)
