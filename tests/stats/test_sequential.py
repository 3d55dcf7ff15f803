from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate.records import Estimate, Limit, SourceLine, Verdict
from qgate.stats import (
    Looks,
    Plan,
    chance_to_certify,
    level_at_end,
    mcnemar_exact,
    paired_difference,
    plan_looks,
)
from qgate.stats.group_sequential import crossing_chances
from qgate.stats.paired_proportions import score_ends
from qgate.verdict import judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

scipy_stats = pytest.importorskip("scipy.stats")
signal = pytest.importorskip("scipy.signal")

LEVEL = 0.95
SEED = 20_261_125
MARGIN = 0.02
CERTIFY = Limit(
    check="accuracy.x", rule="certify", source=SourceLine("thresholds.yaml", 1), min=-MARGIN
)

LAN_DEMETS = {
    1: (1.9600,),
    2: (2.9626, 1.9686),
    3: (3.7103, 2.5114, 1.9930),
    4: (4.3326, 2.9631, 2.3590, 2.0141),
    5: (4.8769, 3.3569, 2.6803, 2.2898, 2.0310),
}
"""Two-sided 5 % in equal looks, O'Brien-Fleming spending (Reboussin et al. 2000; gsDesign)."""


@pytest.mark.parametrize("looks", LAN_DEMETS)
def test_bounds_are_the_published_ones(looks: int) -> None:
    plan = plan_looks(1_000 * looks, LEVEL, looks)
    assert plan.z == pytest.approx(LAN_DEMETS[looks], abs=2e-4)
    assert plan.looks == tuple(1_000 * number for number in range(1, looks + 1))
    assert plan.level == LEVEL


@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [(2, 2.178, 1.977), (3, 2.289, 2.004), (4, 2.361, 2.024), (5, 2.413, 2.040)],
)
def test_known_constants_are_crossed_as_often_as_known(
    looks: int, pocock: float, obrien_fleming: float
) -> None:
    """Jennison & Turnbull 2000, tables 2.1 and 2.3, three decimals; upper of two sides at 0.05."""
    numbers = range(1, looks + 1)
    flat = crossing_chances(numbers, [pocock] * looks)
    steep = crossing_chances(numbers, [obrien_fleming * math.sqrt(looks / k) for k in numbers])
    assert sum(flat) == pytest.approx(0.025, abs=6e-5)
    assert sum(steep) == pytest.approx(0.025, abs=6e-5)


@pytest.mark.parametrize("items", [(1, 2, 3, 4), (100, 101, 700), (5, 50, 500)])
def test_crossing_is_the_multivariate_normals(items: tuple[int, ...]) -> None:
    z = [2.5, 2.2, 2.0, 1.9][: len(items)]
    shares = np.sqrt(np.array(items))
    correlation = np.minimum.outer(shares, shares) / np.maximum.outer(shares, shares)
    staying = scipy_stats.multivariate_normal(np.zeros(len(items)), correlation).cdf(
        z, rng=np.random.default_rng(0)
    )
    assert sum(crossing_chances(items, z)) == pytest.approx(1.0 - staying, abs=1e-4)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.99, 0.999])
@pytest.mark.parametrize(("n", "looks"), [(1_500, 4), (1_319, 5), (7, 5), (200, 3)])
def test_all_of_the_error_is_spent_and_no_more(n: int, looks: int, level: float) -> None:
    plan = plan_looks(n, level, looks)
    assert sum(crossing_chances(plan.looks, plan.z)) == pytest.approx((1 - level) / 2, abs=1e-9)
    assert list(plan.looks) == sorted(set(plan.looks))
    assert plan.looks[-1] == n
    assert list(plan.z) == sorted(plan.z, reverse=True)


def interval_at_look(
    artifact: np.ndarray, reference: np.ndarray, plan: Plan, look: int
) -> Estimate:
    """The interval of paired answers at a look, as a task's row has it."""
    looks = Looks(ends=plan.looks, look=look)
    found = paired_difference(artifact, reference, level=plan.nominal(look))
    return looks.held(dataclasses.replace(found, p_value=None), plan.level)


def answers(gained: int, lost: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    artifact, reference = np.zeros(n, bool), np.zeros(n, bool)
    artifact[:gained] = reference[gained : gained + lost] = True
    return artifact, reference


def test_a_plan_of_one_look_is_the_plain_interval() -> None:
    sides = answers(31, 47, 1_319)
    looked = interval_at_look(*sides, plan_looks(1_319, LEVEL, 1), 1)
    plain = paired_difference(*sides, level=LEVEL)
    ends = (looked.low, looked.value, looked.high)
    assert ends == pytest.approx((plain.low, plain.value, plain.high), abs=1e-9)
    assert (looked.n, looked.unit) == (1_319, "difference")
    assert looked.method == "Tango score, paired"


def test_earlier_looks_have_wider_intervals() -> None:
    plan = plan_looks(1_500, LEVEL)
    for look, n in enumerate(plan.looks, 1):
        sides = answers(20, 20, n)
        looked, plain = interval_at_look(*sides, plan, look), paired_difference(*sides, level=LEVEL)
        assert looked.low < plain.low
        assert looked.high > plain.high
        assert judge(looked, CERTIFY) in (Verdict.PASS, Verdict.INCONCLUSIVE)


def decide(plan: Plan, look: int, gained: np.ndarray, lost: np.ndarray, margin: float) -> tuple:
    """Which counts PASS and which FAIL, shape (gained, lost): the border of each by bisection."""

    def border(is_beyond: Callable[[int, int], bool], most: int) -> np.ndarray:
        first = np.zeros(gained.size, np.intp)
        for index, count in enumerate(gained.tolist()):
            low, high = -1, most + 1
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if is_beyond(count, middle) else (middle, high)
            first[index] = high
        return first

    n, z = plan.looks[look - 1], plan.z[look - 1]
    most = int(lost[-1])
    not_passed = border(lambda g, count: score_ends(g, count, n, z)[0] < -margin, most)
    failed = border(lambda g, count: score_ends(g, count, n, z)[1] < -margin, most)
    return lost < not_passed[:, None], lost >= failed[:, None]


def by_every_outcome(
    plan: Plan, flips: float, drop: float, margin: float
) -> tuple[float, float, float]:
    """P(PASS), P(FAIL) and the mean number of items, summed over all paths of counts; no chance."""
    shares = flips / 2, flips / 2 + drop
    passed = failed = asked = 0.0
    state, done = np.ones((1, 1)), 0
    for look, n in enumerate(plan.looks, 1):
        step = n - done
        counts = [int(scipy_stats.binom.ppf(1 - 1e-8, step, share)) for share in shares]
        grid = np.ogrid[: counts[0] + 1, : counts[1] + 1]
        same = np.maximum(step - grid[0] - grid[1], 0)
        masses = scipy_stats.multinomial.pmf(
            np.stack(np.broadcast_arrays(grid[0], grid[1], same), axis=-1),
            step,
            [*shares, 1 - sum(shares)],
        )
        state = np.maximum(signal.fftconvolve(state, masses), 0.0)
        gained, lost = np.arange(state.shape[0]), np.arange(state.shape[1])
        is_passed, is_failed = decide(plan, look, gained, lost, margin)
        passed, failed = passed + state[is_passed].sum(), failed + state[is_failed].sum()
        is_last = look == len(plan.looks)
        asked += n * (state.sum() if is_last else state[is_passed | is_failed].sum())
        state = np.where(is_passed | is_failed, 0.0, state)
        done = n
    return float(passed), float(failed), float(asked)


@pytest.mark.parametrize(
    ("n", "looks", "flips", "margin"),
    [
        (1_500, 4, 0.06, 0.02),
        (1_500, 5, 0.06, 0.02),
        (1_319, 4, 0.03, 0.02),
        (1_319, 4, 0.10, 0.02),
        (400, 4, 0.06, 0.05),
    ],
)
def test_peeking_passes_what_loses_the_margin_no_more_often_than_stated(
    n: int, looks: int, flips: float, margin: float
) -> None:
    """Summed, not simulated. On the other side as far from nominal as `paired_difference` is."""
    passed, failed, _ = by_every_outcome(plan_looks(n, LEVEL, looks), flips, margin, margin)
    assert passed <= 0.025
    assert failed <= 0.03


def test_peeking_at_plain_intervals_would_pass_it_twice_as_often() -> None:
    plan = Plan(looks=(375, 750, 1_125, 1_500), z=(1.96,) * 4, level=LEVEL)
    assert by_every_outcome(plan, 0.06, MARGIN, MARGIN)[0] > 0.05


def test_stopping_early_costs_little_power_and_saves_items() -> None:
    plan = plan_looks(1_500, LEVEL)
    whole = plan_looks(1_500, LEVEL, 1)
    fixed, _, _ = by_every_outcome(whole, 0.06, 0.0, MARGIN)
    passed, failed, asked = by_every_outcome(plan, 0.06, 0.0, MARGIN)
    assert passed > fixed - 0.015
    assert failed < 1e-6
    assert asked < 0.85 * 1_500


def test_what_passes_the_plain_interval_of_the_last_look_passes_the_plan() -> None:
    level = level_at_end(1_500, LEVEL)
    passed, _, _ = by_every_outcome(plan_looks(1_500, LEVEL), 0.06, 0.0, MARGIN)
    reckoned = chance_to_certify(1_500, MARGIN, 0.06, level)
    assert LEVEL < level < 0.96
    assert passed - 0.01 < reckoned <= passed


def draw(
    rng: np.random.Generator, n: int, flips: float, drop: float
) -> tuple[np.ndarray, np.ndarray]:
    """Right three times in four; `flips` both ways alike, `drop` lost besides."""
    kind = rng.random(n)
    is_gained, is_lost = kind < flips / 2, (kind >= flips / 2) & (kind < flips + drop)
    reference = np.where(is_gained, False, is_lost | (rng.random(n) < 0.75))
    return reference ^ is_gained ^ is_lost, reference


def run(artifact: np.ndarray, reference: np.ndarray, plan: Plan) -> tuple[Verdict, int]:
    for look, n in enumerate(plan.looks, 1):
        verdict = judge(interval_at_look(artifact[:n], reference[:n], plan, look), CERTIFY)
        if verdict is not Verdict.INCONCLUSIVE:
            return verdict, n
    return Verdict.INCONCLUSIVE, plan.looks[-1]


def shares_of(found: Sequence[tuple[Verdict, int]]) -> tuple[float, float, float]:
    verdicts = [verdict for verdict, _ in found]
    return (
        verdicts.count(Verdict.PASS) / len(found),
        verdicts.count(Verdict.FAIL) / len(found),
        float(np.mean([n for _, n in found])),
    )


@pytest.mark.parametrize("drop", [0.0, MARGIN, 2 * MARGIN])
def test_real_rows_stop_as_the_sums_say(drop: float) -> None:
    """1,000 rows through `judge`: three standard errors are at most 0.048."""
    rng, plan = np.random.default_rng(SEED), plan_looks(1_500, LEVEL)
    found = shares_of([run(*draw(rng, 1_500, 0.06, drop), plan) for _ in range(1_000)])
    passed, failed, asked = by_every_outcome(plan, 0.06, drop, MARGIN)
    for seen, chance in ((found[0], passed), (found[1], failed)):
        assert seen == pytest.approx(
            chance, abs=3 * math.sqrt(chance * (1 - chance) / 1_000) + 1e-6
        )
    assert found[2] == pytest.approx(asked, abs=3 * 400 / math.sqrt(1_000))


def test_a_p_value_at_each_look_would_alarm_too_often() -> None:
    """2,000 undamaged rows at 0.025: why an estimate of a look has a repeated one."""
    rng = np.random.default_rng(SEED)
    steps = rng.multinomial(375, [0.03, 0.03, 0.94], (2_000, 4)).cumsum(axis=1)
    alarmed = [
        any(mcnemar_exact(int(lost), int(gained)) <= 0.025 for gained, lost, _ in row)
        for row in steps
    ]
    assert np.mean(alarmed) > 0.035


@pytest.mark.parametrize(("n", "level", "looks"), [(3, LEVEL, 4), (9, LEVEL, 0), (9, 1.0, 4)])
def test_a_plan_without_items_looks_or_doubt_is_refused(n: int, level: float, looks: int) -> None:
    with pytest.raises(ValueError, match=f"^looks: got {looks} at n = {n} items, level {level}; "):
        plan_looks(n, level, looks)
