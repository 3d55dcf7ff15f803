"""(estimate, limit) → verdict; and the one line that says why."""

from __future__ import annotations

from qgate.verdict.judge import judge, judge_family
from qgate.verdict.message import explain, would_have_seen
from qgate.verdict.multiplicity import adjust, family_size
from qgate.verdict.numbers import (
    distinguishing_decimals,
    format_bound,
    format_interval,
    format_value,
    name_conditions,
)

__all__ = [
    "adjust",
    "distinguishing_decimals",
    "explain",
    "family_size",
    "format_bound",
    "format_interval",
    "format_value",
    "judge",
    "judge_family",
    "name_conditions",
    "would_have_seen",
]
