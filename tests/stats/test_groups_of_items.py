"""Items that come in groups: questions on one text flip together, and the interval has to know.

Groups draw their shares of gained and lost items from a Dirichlet distribution whose intraclass
correlation is given; `covered` and `slipped` are held to what `paired_difference` states, with
three standard errors of the simulation as noise.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from qgate.errors import MeasurementError
from qgate.records import Limit, SourceLine, Verdict
from qgate.stats import mcnemar_clustered, paired_difference
from qgate.verdict import judge

LEVEL = 0.95
SEED = 20_261_125


def draw(
    rng: np.random.Generator, groups: int, size: int, icc: float, flips: float, drop: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of 1 to 2 * size - 1 items; `flips` both ways alike, `drop` lost besides."""
    labels = np.repeat(np.arange(groups), rng.integers(1, 2 * size, groups))
    average = np.array([flips / 2, flips / 2 + drop, 1 - flips - drop])
    shares = rng.dirichlet(average * (1 - icc) / icc, groups)[labels]
    kind = rng.random(labels.size)
    is_gained = kind < shares[:, 0]
    is_lost = ~is_gained & (kind < shares[:, 0] + shares[:, 1])
    reference = np.where(is_gained, False, is_lost | (rng.random(labels.size) < 0.75))
    return reference ^ is_gained ^ is_lost, reference, labels


CASES = {
    "40 groups of 5": (40, 5, 0.1, 0.06, 0.02),
    "260 groups of 5": (260, 5, 0.3, 0.06, 0.02),
    "100 groups of 10, 5 points": (100, 10, 0.3, 0.10, 0.05),
    "20 groups of 50": (20, 50, 0.1, 0.06, 0.02),
    "6 groups of 50": (6, 50, 0.1, 0.06, 0.02),
    "100 groups of 4, few flips": (100, 4, 0.5, 0.01, 0.02),
}


def noise(share: float, repetitions: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / repetitions)


@pytest.mark.parametrize("repetitions", [300, pytest.param(4_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", CASES)
def test_interval_and_test_hold_where_items_flip_together(name: str, repetitions: int) -> None:
    """300 artifacts: three standard errors are 0.03; 4,000: 0.01 of a share of 0.95."""
    groups, size, icc, flips, drop = CASES[name]
    rng = np.random.default_rng(SEED)
    covered = slipped = alarmed = plain_slipped = 0
    for _ in range(repetitions):
        sides = draw(rng, groups, size, icc, flips, drop)
        found, plain = (
            paired_difference(*sides, level=LEVEL),
            paired_difference(*sides[:2], level=LEVEL),
        )
        covered += found.low <= -drop <= found.high
        slipped += found.low > -drop
        plain_slipped += plain.low > -drop
        undamaged = paired_difference(*draw(rng, groups, size, icc, flips, 0.0), level=LEVEL)
        alarmed += undamaged.p_value is not None and undamaged.p_value <= 0.025
    assert covered / repetitions >= LEVEL - noise(LEVEL, repetitions)
    assert slipped / repetitions <= 0.03 + noise(0.03, repetitions)
    assert alarmed / repetitions <= 0.025 + noise(0.025, repetitions)
    assert plain_slipped > slipped


def test_groups_of_one_item_change_nothing() -> None:
    rng = np.random.default_rng(SEED)
    artifact, reference, _ = draw(rng, 100, 3, 0.1, 0.1, 0.02)
    each = rng.permutation(artifact.size)
    plain = paired_difference(artifact, reference, level=LEVEL)
    assert paired_difference(artifact, reference, each, level=LEVEL) == plain


def test_items_that_answer_as_one_are_worth_one() -> None:
    rng = np.random.default_rng(SEED)
    kind = rng.random(300)
    artifact, reference = np.repeat(kind > 0.1, 5), np.repeat((kind < 0.04) | (kind > 0.1), 5)
    labels = np.repeat(np.arange(300), 5)
    found = paired_difference(artifact, reference, labels, level=LEVEL)
    one_each = paired_difference(artifact[::5], reference[::5], level=LEVEL)
    assert (found.value, found.n) == (one_each.value, 1_500)
    assert (found.low, found.high) == pytest.approx((one_each.low, one_each.high), abs=1e-3)
    assert found.p_value == pytest.approx(one_each.p_value)
    assert found.method == "Tango score, paired, clustered, design effect 5.02 (299 df)"


def test_groups_without_a_flip_leave_the_doubt_of_as_many_items() -> None:
    """As for single items, z^2 / (n + z^2), but of the groups; t for z."""
    right, labels = np.ones(500, bool), np.repeat(np.arange(100), 5)
    found = paired_difference(right, right, labels, level=LEVEL)
    alone = paired_difference(right[:100], right[:100], level=LEVEL)
    assert (found.low, found.high) == pytest.approx((alone.low, alone.high), rel=0.04)
    assert found.low < alone.low


def test_names_and_order_of_groups_do_not_matter() -> None:
    rng = np.random.default_rng(SEED)
    artifact, reference, labels = draw(rng, 60, 4, 0.2, 0.1, 0.02)
    order = rng.permutation(labels.size)
    names = np.array([f"text-{900 - label}" for label in labels])
    found = paired_difference(artifact, reference, labels, level=LEVEL)
    other = paired_difference(artifact[order], reference[order], names[order], level=LEVEL)
    for end in ("low", "value", "high", "p_value"):
        assert getattr(other, end) == pytest.approx(getattr(found, end), rel=1e-9)
    differences = artifact.astype(float) - reference
    assert found.p_value == mcnemar_clustered(differences, labels)


BAD = {
    "one group": (
        [7, 7, 7],
        "too few to tell how they differ: got 1 group; expected at least 2 groups. Add items.",
    ),
    "a lost label": (
        [1, 1],
        "items and groups do not match: got shapes (3,) and (2,); "
        "expected one group label per item.",
    ),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_groups_are_refused_in_one_line(bad: str) -> None:
    labels, message = BAD[bad]
    with pytest.raises(MeasurementError) as caught:
        paired_difference(np.array([1, 0, 1]), np.array([1, 1, 1]), np.array(labels), level=LEVEL)
    assert str(caught.value) == f"paired difference: {message}"


@pytest.mark.parametrize("groups", [4, 7, 11])
def test_with_few_groups_the_interval_decides_for_no_test_of_them_could(groups: int) -> None:
    """Everything lost in 4 groups has a sign-flip p of 2^-4: an alarm by it never goes off."""
    right, labels = np.ones(200, bool), np.arange(200) % groups
    found = paired_difference(~right, right, labels, level=LEVEL)
    alarm = Limit(check="accuracy.x", rule="alarm", min=-0.03, source=SourceLine("a.yaml", 1))
    assert found.p_value is None
    assert judge(found, alarm) is Verdict.FAIL
    many = paired_difference(~right, right, np.arange(200) % 12, level=LEVEL)
    assert many.p_value == pytest.approx(2**-12)
