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


def area_of(check: str) -> str:
    """The line of the checklist that a row belongs to: what stands before the dot."""
    return check.partition(".")[0]


_LINES = ("integrity", "perplexity", "divergence", "accuracy", "edge", "latency", "memory")


def line_of(check: str) -> int:
    """Where a row stands in a report: by the line of the checklist, a team's own rows last."""
    area = area_of(check)
    return _LINES.index(area) if area in _LINES else len(_LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is known of a row before anything is measured."""

    name: str
    unit: str
    """`perplexity`, `ratio`, `nats`, `fraction`, `difference` (of two fractions), `bytes`, `GiB` or
    `ms`."""
    bound: Bound
    """The side that a limit holds: `max` where more is worse, `min` where less is."""
    at_best: float | None
    """The value of an artifact that is the reference itself; None where it can be better."""
    claim: str
    """One sentence: what a PASS says."""

    @property
    def area(self) -> str:
        return area_of(self.name)

    @property
    def is_paired(self) -> bool:
        """Whether shares or scores of both sides are compared, item by item."""
        return self.unit == "difference"


def accuracy_check(task: str) -> Check:
    """The row of a task that a thresholds file names."""
    return Check(
        name=f"accuracy.{task}",
        unit="difference",
        bound="min",
        at_best=0.0,
        claim=f"Share of right answers to {task}, less the original's on the same items.",
    )


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
            Check(
                name="edge.long_input",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="Perplexity over the original's on long inputs and the facts in them.",
            ),
            Check(
                name="edge.multilingual",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="Perplexity over the original's in the language where it is worst.",
            ),
            Check(
                name="edge.math",
                unit="difference",
                bound="min",
                at_best=0.0,
                claim="Share of right answers to arithmetic, less the original's on the same.",
            ),
            Check(
                name="edge.repetition",
                unit="difference",
                bound="max",
                at_best=0.0,
                claim="Share of answers that repeat themselves, less the original's.",
            ),
            Check(
                name="edge.termination",
                unit="difference",
                bound="min",
                at_best=0.0,
                claim="Share of answers that end by themselves, less the original's.",
            ),
            Check(
                name="edge.answer_length",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="Length of answers over the original's, or the other way round.",
            ),
            Check(
                name="edge.batch_invariance",
                unit="difference",
                bound="max",
                at_best=0.0,
                claim="Share of answers that change beside others, less the original's.",
            ),
            Check(
                name="edge.empty_prompt",
                unit="difference",
                bound="max",
                at_best=0.0,
                claim="Share of answers to next to nothing that are none or loop, less the "
                "original's.",
            ),
            Check(
                name="edge.context_limit",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="Perplexity over the original's on the last tokens of a full context.",
            ),
            Check(
                name="latency.ttft",
                unit="ratio",
                bound="max",
                at_best=None,
                claim="Time to the first token over the original's, measured in turns.",
            ),
            Check(
                name="latency.itl",
                unit="ratio",
                bound="max",
                at_best=None,
                claim="Time between tokens over the original's, measured in turns.",
            ),
            Check(
                name="latency.tps",
                unit="ratio",
                bound="min",
                at_best=None,
                claim="Output tokens a second over the original's, measured in turns.",
            ),
            Check(
                name="latency.ttft_slo",
                unit="ms",
                bound="max",
                at_best=None,
                claim="A percentile of the time to the first token.",
            ),
            Check(
                name="latency.itl_slo",
                unit="ms",
                bound="max",
                at_best=None,
                claim="A percentile of the time between tokens.",
            ),
            Check(
                name="memory.weights",
                unit="ratio",
                bound="max",
                at_best=None,
                claim="Bytes of the loaded weights over the original's.",
            ),
            Check(
                name="memory.kv_cache",
                unit="ratio",
                bound="max",
                at_best=1.0,
                claim="KV cache a token over what the model's dimensions make.",
            ),
            Check(
                name="memory.peak",
                unit="ratio",
                bound="max",
                at_best=None,
                claim="Peak memory with a full context over the original's.",
            ),
            Check(
                name="memory.growth",
                unit="bytes",
                bound="max",
                at_best=0.0,
                claim="Memory that each further identical batch takes.",
            ),
            Check(
                name="memory.fits",
                unit="GiB",
                bound="max",
                at_best=None,
                claim="Weights, KV cache of the context and scratch together fit the budget.",
            ),
        )
    }
)

ONLY_WITH_LIMIT = frozenset({"latency.ttft_slo", "latency.itl_slo", "memory.fits"})
"""Rows that are collected only for artifacts to which somebody sets a limit."""
