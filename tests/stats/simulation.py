"""What simulations of intervals share: the seed, the share that covers, and its noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from qgate.records import Estimate

LEVEL = 0.95
SEED = 20_261_123


def noise(share: float, repetitions: int) -> float:
    return 3 * math.sqrt(share * (1 - share) / repetitions)


def covers(estimates: list[Estimate], truth: float) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in estimates]))
