"""The rows that this version can measure: their names, units and which way is worse.

A row's name is public: YAML key = JSON name = MLflow metric = summary row. Adding a check adds one
entry here, one function in `measure/`, and one test in `checklist/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Bound = Literal["max", "min"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is known of a row before anything is measured."""

    name: str
    unit: str
    """`perplexity`, `ratio`, `nats` or `fraction`."""
    bound: Bound
    """The side that a limit holds: `max` where more is worse, `min` where less is."""
    at_best: float
    """The value of an artifact that is the reference itself."""
    claim: str
    """One sentence: what a PASS says."""


CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.name: check
        for check in (
            Check(
                name="perplexity.increase",
                unit="perplexity",
                bound="max",
                at_best=0.0,
                claim="Perplexity rose by no more than this over the original on the same tokens.",
            ),
            Check(
                name="perplexity.ratio",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="Perplexity divided by the original's, paired token by token.",
            ),
            Check(
                name="divergence.kl_mean",
                unit="nats",
                bound="max",
                at_best=0.0,
                claim="Mean KL(original || artifact) of the next-token distributions.",
            ),
            Check(
                name="divergence.kl_p99",
                unit="nats",
                bound="max",
                at_best=0.0,
                claim="99th percentile of that divergence over tokens: the tail users notice.",
            ),
            Check(
                name="divergence.same_top",
                unit="fraction",
                bound="min",
                at_best=1.0,
                claim="Share of tokens where both rank the same token first.",
            ),
        )
    }
)
