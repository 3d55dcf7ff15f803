"""What stopping early saves of 1,500 items, and what it costs in verdicts, by real rows in `judge`.

4,000 rows each (three standard errors: 0.0074 of a share of 0.025, at most 0.024 of any). The
reference answers three in four right, 6 % of the items flip both ways alike, and what is truly lost
comes on top. The items are asked in the order drawn, which is random. Where the variable
QGATE_FIGURES names a file, the figures are written there.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from qgate.records import Verdict
from qgate.stats import plan_looks
from tests.stats.test_sequential import LEVEL, MARGIN, draw, run

ITEMS = 1_500
ROWS = 4_000
FLIPS = 0.06


@pytest.mark.slow
@pytest.mark.parametrize(
    ("drop", "passes", "fails", "saves"),
    [
        (0.0, (0.80, 1.0), (0.0, 0.0), 0.15),
        (MARGIN, (0.0, 0.025), (0.0, 0.03), 0.0),
        (2 * MARGIN, (0.0, 0.001), (0.65, 1.0), 0.10),
    ],
    ids=["undamaged", "at the margin", "twice the margin"],
)
def test_a_row_stops_before_its_last_item_and_peeking_passes_nothing_more(
    drop: float,
    passes: tuple[float, float],
    fails: tuple[float, float],
    saves: float,
) -> None:
    rng, plan = np.random.default_rng(20_261_125), plan_looks(ITEMS, LEVEL)
    found = [run(*draw(rng, ITEMS, FLIPS, drop), plan) for _ in range(ROWS)]
    passed = np.mean([verdict is Verdict.PASS for verdict, _ in found])
    failed = np.mean([verdict is Verdict.FAIL for verdict, _ in found])
    saved = 1.0 - float(np.mean([n for _, n in found])) / ITEMS
    tell(f"{drop:.2f} lost: {passed:.4f} PASS, {failed:.4f} FAIL, {saved:.3f} of the items saved")
    for seen, (least, most) in ((passed, passes), (failed, fails)):
        assert least - noise(least) <= seen <= most + noise(most)
    assert saved >= saves


def tell(line: str) -> None:
    """Append a line to the file that QGATE_FIGURES names, if it names one."""
    if path := os.environ.get("QGATE_FIGURES"):
        with Path(path).open("a") as figures:
            figures.write(line + "\n")


def noise(share: float) -> float:
    return 3 * math.sqrt(share * (1 - share) / ROWS)
