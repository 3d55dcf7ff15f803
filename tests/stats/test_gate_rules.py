"""What qgate's rules decide over whole files of rows, simulated: minutes of nothing but counts.

Each row has n independent items that the reference answers right three times in four; the artifact
flips 6 % of them both ways alike and truly loses a share on top, so that of 6 % + |delta| flips
(disc - delta) / 2 are lost and (disc + delta) / 2 gained. A file is a family of ten such rows. What
both sides answer alike, the three in four included, tells no rule anything, so that counts of flips
are drawn and not answers (tests/stats/test_proportions.py holds that).

    alarm     FAIL where the exact McNemar p-value times the rows is at most 0.05 and more than
              `max_drop` is seen to be lost
    certify   as `judge` has it, by Tango's interval at level 0.95 and a margin of 2 points

Three standard errors are stated with every count of repetitions. Where the variable QGATE_FIGURES
names a file, the tables are written there.
"""

from __future__ import annotations

import dataclasses
import math
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from qgate.records import Limit, SourceLine, Verdict
from qgate.stats import (
    chance_to_certify,
    mcnemar_exact,
    paired_difference,
    plan_looks,
)
from qgate.verdict import adjust, judge
from tests.stats.test_sequential import interval_at_look

SEED = 20_261_125
FILES = 4_000
ROWS = 10
FLIPS = 0.06
ALPHA = 0.05
LEVEL = 0.95
MARGIN = 0.02
MAX_DROPS = (0.0, 0.01, 0.02)
CERTIFY = Limit(
    check="accuracy.x", rule="certify", source=SourceLine("thresholds.yaml", 1), min=-MARGIN
)

pytestmark = pytest.mark.slow


def draw(rng: np.random.Generator, n: int, drops: tuple[float, ...]) -> np.ndarray:
    """Counts gained and lost of every row of every file, shape (FILES, rows, 2)."""
    columns = [
        rng.multinomial(n, [FLIPS / 2, FLIPS / 2 + drop, 1 - FLIPS - drop], FILES)[:, :2]
        for drop in drops
    ]
    return np.stack(columns, axis=1)


p_value_of = cache(mcnemar_exact)


def alarms(counts: np.ndarray, n: int, max_drop: float) -> np.ndarray:
    """Which rows FAIL, shape (FILES, rows); the family is all rows of the file."""
    files = counts.tolist()
    return np.array(
        [[is_alarm(*flips, n, len(rows), max_drop) for flips in rows] for rows in files]
    )


@cache
def is_alarm(gained: int, lost: int, n: int, family: int, max_drop: float) -> bool:
    artifact, reference = np.zeros(n, bool), np.zeros(n, bool)
    artifact[:gained] = reference[gained : gained + lost] = True
    limit = dataclasses.replace(CERTIFY, rule="alarm", min=-max_drop)
    estimate = paired_difference(artifact, reference, level=LEVEL)
    return judge(adjust(estimate, limit, family), limit) is Verdict.FAIL


@cache
def certify(gained: int, lost: int, n: int) -> Verdict:
    artifact, reference = np.zeros(n, bool), np.zeros(n, bool)
    artifact[:gained] = reference[gained : gained + lost] = True
    return judge(paired_difference(artifact, reference, level=LEVEL), CERTIFY)


def certified(n: int, drop: float, rng: np.random.Generator) -> dict[Verdict, float]:
    verdicts = [certify(gained, lost, n) for gained, lost in draw(rng, n, (drop,))[:, 0].tolist()]
    return {verdict: verdicts.count(verdict) / FILES for verdict in Verdict}


def noise(share: float) -> float:
    """Three standard errors of a simulated share: 0.010 of 0.05, 0.019 of 0.2, 0.024 of 0.5."""
    return 3 * math.sqrt(share * (1 - share) / FILES)


def tell(*lines: str) -> None:
    if path := os.environ.get("QGATE_FIGURES"):
        with Path(path).open("a") as figures:
            figures.writelines(line + "\n" for line in lines)


@pytest.mark.parametrize("max_drop", MAX_DROPS)
@pytest.mark.parametrize("n", [200, 1_319])
def test_a_file_of_ten_undamaged_rows_fails_in_at_most_one_run_in_twenty(
    n: int, max_drop: float
) -> None:
    failed = alarms(draw(np.random.default_rng(SEED), n, (0.0,) * ROWS), n, max_drop)
    share = float(failed.any(axis=1).mean())
    tell(f"ten undamaged rows, n = {n}, max_drop {max_drop}: {share:.4f} of the files FAIL")
    assert share <= 0.05


@pytest.mark.parametrize("n", [200, 1_319])
def test_ten_rows_each_at_five_percent_would_fail_in_many_more(n: int) -> None:
    counts = draw(np.random.default_rng(SEED), n, (0.0,) * ROWS)
    alone = [any(p_value_of(lost, gained) <= ALPHA for gained, lost in f) for f in counts.tolist()]
    share = float(np.mean(alone))
    tell(f"the same without a correction, n = {n}: {share:.4f}")
    assert share > 0.15


SEEN = {
    # at least, at most
    ("alone", 0.0): (0.95, 1.0),
    ("alone", 0.01): (0.95, 1.0),
    ("alone", 0.02): (0.87, 0.92),
    ("one of ten", 0.0): (0.83, 0.88),
    ("one of ten", 0.01): (0.83, 0.88),
    ("one of ten", 0.02): (0.83, 0.88),
    ("each of ten", 0.0): (0.83, 0.88),
    ("each of ten", 0.01): (0.83, 0.88),
    ("each of ten", 0.02): (0.83, 0.88),
}
"""The share of rows seen. 95 % is out of reach of a row that is one damaged among ten, and where a
drop of 2 points is let pass: of 1,319 items; about 1,800 do for the one, 2,300 for the other."""
FAMILIES = {
    "alone": (0.03,),
    "one of ten": (0.03,) + (0.0,) * (ROWS - 1),
    "each of ten": (0.03,) * ROWS,
}


@pytest.mark.parametrize("max_drop", MAX_DROPS)
@pytest.mark.parametrize("family", FAMILIES)
def test_three_points_lost_of_1319_items_are_seen(family: str, max_drop: float) -> None:
    counts = draw(np.random.default_rng(SEED), 1_319, FAMILIES[family])
    failed = alarms(counts, 1_319, max_drop)
    row, file = float(failed[:, 0].mean()), float(failed.any(axis=1).mean())
    tell(f"3 points lost, n = 1319, {family}, max_drop {max_drop}: row {row:.4f}, file {file:.4f}")
    least, most = SEEN[family, max_drop]
    assert least <= row <= most
    if family == "each of ten":
        assert file >= 0.999


@pytest.mark.parametrize(
    ("drop", "passes", "fails"),
    [
        (0.0, (0.80, 1.0), (0.0, 0.001)),
        (0.02, (0.0, 0.05), (0.0, 0.05)),
        (0.03, (0.0, 0.005), (0, 1)),
    ],
)
def test_a_margin_of_two_points_is_certified_on_1500_items(
    drop: float, passes: tuple[float, float], fails: tuple[float, float]
) -> None:
    found = certified(1_500, drop, np.random.default_rng(SEED))
    tell(f"certify 2 points, n = 1500, {drop} lost: {told(found)}")
    for verdict, (least, most) in ((Verdict.PASS, passes), (Verdict.FAIL, fails)):
        assert least <= found[verdict] <= most
    chance = chance_to_certify(1_500, MARGIN, FLIPS, LEVEL, drop=drop)
    assert found[Verdict.PASS] == pytest.approx(chance, abs=noise(chance) + 1e-9)


DROPS = (0.0, 0.01, 0.02, 0.03, 0.05)


def told(found: dict[Verdict, float]) -> str:
    shown = ((found[verdict], verdict.name[0]) for verdict in TOLD)
    return " ".join(f"{letter}{100 * share:.1f}" for share, letter in shown if share >= 0.0005)


TOLD = (Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.PASS)


def sequential(n: int, drop: float, rng: np.random.Generator) -> dict[Verdict, float]:
    """As `certified`, but in 4 looks, stopping at the first verdict."""
    plan, verdicts = plan_looks(n, LEVEL), []
    kinds = rng.choice(
        np.array([1, -1, 0], np.int8),
        (FILES, n),
        p=[FLIPS / 2, FLIPS / 2 + drop, 1 - FLIPS - drop],
    )
    for row in kinds:
        for look, items in enumerate(plan.looks, 1):
            asked = row[:items]
            found = judge(interval_at_look(asked == 1, asked == -1, plan, look), CERTIFY)
            if found is not Verdict.INCONCLUSIVE:
                break
        verdicts.append(found)
    return {verdict: verdicts.count(verdict) / FILES for verdict in Verdict}


def table(n: int) -> list[str]:
    """The rules as rows and what is truly lost as columns: shares of FAIL, INCONCLUSIVE, PASS."""
    rows: dict[str, list[str]] = {}
    for drop in DROPS:
        rng = np.random.default_rng(SEED)
        alone = alarms(draw(rng, n, (drop,)), n, 0.01)[:, 0].mean()
        one_of_ten = alarms(draw(rng, n, (drop,) + (0.0,) * (ROWS - 1)), n, 0.01)[:, 0].mean()
        each_of_ten = alarms(draw(rng, n, (drop,) * ROWS), n, 0.01).any(axis=1).mean()
        for rule, cell in (
            ("alarm 1 pt, a file of one row", f"F{100 * alone:.1f}"),
            ("alarm 1 pt, this one of ten rows", f"F{100 * one_of_ten:.1f}"),
            ("alarm 1 pt, any of ten rows alike", f"F{100 * each_of_ten:.1f}"),
            ("certify 2 pt", told(certified(n, drop, rng))),
            ("certify 2 pt, 4 looks", told(sequential(n, drop, rng))),
        ):
            rows.setdefault(rule, []).append(cell)
    heading = ["rule", "δ=0", *(f"-{100 * drop:g} pt" for drop in DROPS[1:])]
    lines = [heading, ["---"] * len(heading), *([rule, *cells] for rule, cells in rows.items())]
    return ["", f"n = {n}", "", *("| " + " | ".join(line) + " |" for line in lines)]


@pytest.mark.parametrize("n", [1_319, 1_500])
def test_the_table_beside_the_published_ones_is_whole(n: int) -> None:
    lines = table(n)
    tell(*lines)
    assert len(lines) == 3 + 2 + 5
    assert all(line.count("|") == 7 for line in lines[3:])
