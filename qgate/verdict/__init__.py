"""(estimate, limit) → verdict; and the one line that says why."""

from __future__ import annotations

from qgate.verdict.formats import (
    decimals_that_tell,
    format_bound,
    format_interval,
    format_value,
    name_conditions,
)
from qgate.verdict.judging import is_shown, judge, judge_family
from qgate.verdict.line import (
    explain,
    explain_no_room,
    sample_word,
    samples_to_decide,
    smallest_detectable,
    would_have_seen,
)

__all__ = [
    "decimals_that_tell",
    "explain",
    "explain_no_room",
    "format_bound",
    "format_interval",
    "format_value",
    "is_shown",
    "judge",
    "judge_family",
    "name_conditions",
    "sample_word",
    "samples_to_decide",
    "smallest_detectable",
    "would_have_seen",
]
