"""(estimate, limit) → verdict; and the one line that says why."""

from __future__ import annotations

from qgate.verdict.judge import is_shown, judge, judge_family
from qgate.verdict.message import (
    explain,
    explain_vacuous,
    samples_to_decide,
    smallest_detectable,
    would_have_seen,
)
from qgate.verdict.multiplicity import adjust, family_size
from qgate.verdict.numbers import (
    decimals_that_tell,
    format_bound,
    format_interval,
    format_value,
    name_conditions,
)

__all__ = [
    "adjust",
    "decimals_that_tell",
    "explain",
    "explain_vacuous",
    "family_size",
    "format_bound",
    "format_interval",
    "format_value",
    "is_shown",
    "judge",
    "judge_family",
    "name_conditions",
    "samples_to_decide",
    "smallest_detectable",
    "would_have_seen",
]
