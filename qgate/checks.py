"""The rows that this version can measure: their names, units and which way is worse.

A row's name is public: YAML key = JSON name = MLflow metric = summary row. Adding a check adds one
entry here, one function in `measure/`, and one test in `checklist/`. Other packages bring theirs by
an entry point of the group `qgate.checks`, a project by the ini option `qgate_checks`.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from qgate.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Bound = Literal["max", "min"]
GROUP = "qgate.checks"
"""Entry points that name a `Check` or a tuple of them."""
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


def area_of(check: str) -> str:
    """The line of the checklist that a row belongs to: what stands before the dot."""
    return check.partition(".")[0]


LINES = ("integrity", "perplexity", "divergence", "accuracy", "edge", "latency", "memory")
"""Of the checklist, in the order of a report."""


def line_of(check: str) -> int:
    """Where a row stands in a report: by the line of the checklist, a team's own rows last."""
    area = area_of(check)
    return LINES.index(area) if area in LINES else len(LINES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What is known of a row before anything is measured."""

    name: str
    unit: str
    """`perplexity`, `ratio`, `nats`, `fraction`, `difference` (of two fractions), `bytes`, `GiB` or
    `ms`; a team's own check may have another one."""
    bound: Bound
    """The side that a limit holds: `max` where more is worse, `min` where less is."""
    at_best: float | None = None
    """The value of an artifact that is the reference itself; None where it can be better."""
    claim: str
    """One sentence: what a PASS says."""
    opt_in: bool = False
    """Whether it is a row only for artifacts to which somebody sets a limit."""
    conditions: Literal["", "percentile", "budget"] = ""
    """What a limit says besides its bound: a percentile of requests; what has to fit a budget."""
    samples: str = "samples"
    """What its n counts, in the plural."""
    evidence: str = "the worst samples"
    """Where the report says more of a FAIL; empty where it does not."""
    setting: str = ""
    """Where more samples are asked for in a thresholds file, with `{n}` for their number."""
    room: str = ""
    """What gives the reference more to lose, as a command; empty: nothing does."""
    is_ratio_to_reference: bool = False
    """Whether it is times or bytes over the reference's, which the same runtime has to serve."""
    leader: str = ""
    """The leading row of the same samples: where that one FAILs, this one need not be decided."""

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
        claim=f"Share of right answers to {task}, less the reference's on the same items.",
        samples="items",
        evidence="the flips",
        setting=f"tasks: {{{{{task}: {{{{max_samples: {{n}}}}}}}}}}",
    )


UNDAMAGED: Mapping[str, float] = MappingProxyType(
    {
        **dict.fromkeys(("ratio", "fraction"), 1.0),
        **dict.fromkeys(("difference", "perplexity", "nats", "bytes"), 0.0),
    }
)
"""unit -> the value of an artifact that is the reference itself"""


def _at_best(check: Check) -> float | None:
    """None of times and bytes over the reference's: an artifact may need less."""
    return None if check.is_ratio_to_reference else UNDAMAGED.get(check.unit)


_PAIRS = "latency: {{pairs: {n}}}"
_of_text = partial(
    Check, samples="tokens", evidence="the worst windows", setting="text: {{windows: {n}}}"
)
_of_members = partial(
    Check, unit="ratio", bound="max", samples="tokens", evidence="the perplexities"
)
_of_answers = partial(Check, unit="difference", samples="answers", evidence="the answers")
_of_pairs = partial(
    Check,
    unit="ratio",
    samples="pairs",
    evidence="the raw times",
    setting=_PAIRS,
    is_ratio_to_reference=True,
)
_of_requests = partial(
    Check,
    unit="ms",
    bound="max",
    opt_in=True,
    conditions="percentile",
    samples="requests",
    evidence="the raw times",
    setting=_PAIRS,
)
_of_memory = partial(Check, bound="max", evidence="")

CHECKS: Mapping[str, Check] = MappingProxyType(
    {
        check.name: dataclasses.replace(check, at_best=_at_best(check))
        for check in (
            _of_text(
                name="perplexity.increase",
                unit="perplexity",
                bound="max",
                claim="Perplexity rose by no more than this over the reference on the same tokens.",
            ),
            _of_text(
                name="perplexity.ratio",
                unit="ratio",
                bound="max",
                claim="Perplexity divided by the reference's, paired token by token.",
            ),
            _of_text(
                name="divergence.kl_mean",
                unit="nats",
                bound="max",
                claim="Mean KL(reference || artifact) of the next-token distributions.",
            ),
            _of_text(
                name="divergence.kl_p99",
                unit="nats",
                bound="max",
                leader="divergence.kl_mean",
                claim="99th percentile of that divergence over tokens: the tail users notice.",
            ),
            _of_text(
                name="divergence.same_top",
                unit="fraction",
                bound="min",
                leader="divergence.kl_mean",
                claim="Share of tokens where both rank the same token first.",
            ),
            _of_members(
                name="edge.long_input",
                claim="Perplexity over the reference's on long inputs and the facts in them.",
            ),
            _of_members(
                name="edge.multilingual",
                claim="Perplexity over the reference's in the language where it is worst.",
            ),
            Check(
                name="edge.math",
                unit="difference",
                bound="min",
                claim="Share of right answers to arithmetic, less the reference's on the same.",
                samples="items",
                evidence="the flips",
                setting="edge: {{math_items: {n}}}",
            ),
            _of_answers(
                name="edge.repetition",
                bound="max",
                claim="Share of answers that repeat themselves, less the reference's.",
            ),
            _of_answers(
                name="edge.termination",
                bound="min",
                claim="Share of answers that end by themselves, less the reference's.",
                room="Raise edge.answer_tokens",
            ),
            Check(
                name="edge.answer_length",
                unit="ratio",
                bound="max",
                claim="Length of answers over the reference's, or the other way round.",
                samples="answers",
                evidence="the lengths",
            ),
            _of_answers(
                name="edge.batch_invariance",
                bound="max",
                claim="Share of answers that change beside others, less the reference's.",
            ),
            Check(
                name="edge.empty_prompt",
                unit="difference",
                bound="max",
                claim="Share of answers to next to nothing that are none or loop, less the "
                "reference's.",
            ),
            Check(
                name="edge.context_limit",
                unit="ratio",
                bound="max",
                claim="Perplexity over the reference's on the last tokens of a full context.",
            ),
            _of_pairs(
                name="latency.ttft",
                bound="max",
                claim="Time to the first token over the reference's, measured in turns.",
            ),
            _of_pairs(
                name="latency.itl",
                bound="max",
                claim="Time between tokens over the reference's, measured in turns.",
            ),
            _of_pairs(
                name="latency.tps",
                bound="min",
                claim="Output tokens a second over the reference's, measured in turns.",
            ),
            _of_requests(
                name="latency.ttft_slo",
                claim="A percentile of the time to the first token.",
            ),
            _of_requests(
                name="latency.itl_slo",
                claim="A percentile of the time between tokens.",
            ),
            _of_memory(
                name="memory.weights",
                unit="ratio",
                claim="Bytes of the loaded weights over the reference's.",
                is_ratio_to_reference=True,
            ),
            _of_memory(
                name="memory.kv_cache",
                unit="ratio",
                claim="KV cache a token over what the model's dimensions make.",
            ),
            _of_memory(
                name="memory.peak",
                unit="ratio",
                claim="Peak memory with a full context over the reference's.",
                is_ratio_to_reference=True,
            ),
            _of_memory(
                name="memory.growth",
                unit="bytes",
                claim="Memory that each further identical batch takes.",
                samples="batches",
                setting="memory: {{batches: {n}}}",
            ),
            _of_memory(
                name="memory.fits",
                unit="GiB",
                claim="Weights, KV cache of the context and scratch together fit the budget.",
                opt_in=True,
                conditions="budget",
            ),
        )
    }
)


def find_check(name: str) -> Check:
    """What is known of a row by its name; of a team's own what is so of any."""
    if area_of(name) == "accuracy":
        return accuracy_check(name.partition(".")[2])
    return CHECKS.get(name) or Check(name=name, unit="", bound="max", claim="")


ONLY_WITH_LIMIT = frozenset(name for name, check in CHECKS.items() if check.opt_in)
"""Rows that are collected only for artifacts to which somebody sets a limit."""


def own_checks(named: Iterable[str] = ()) -> Mapping[str, Check]:
    """The checks that are not qgate's own, by name: of installed packages and of this project.

    Args:
        named: objects as `module:name`, each a `Check` or a tuple of them.

    Raises:
        UsageError: one cannot be imported or is none, or has the name of another row.
    """
    entries = [*entry_points(group=GROUP), *(EntryPoint("qgate_checks", one, "") for one in named)]
    found: dict[str, Check] = {}
    for entry in entries:
        for check in _load(entry):
            _require_free(entry, check, found.get(check.name))
            found[check.name] = check
    return MappingProxyType(found)


def _load(entry: EntryPoint) -> Iterator[Check]:
    try:
        loaded = entry.load()
    except Exception as error:  # whatever importing a stranger's module raises
        raise UsageError(
            f"{_where(entry)}: got {type(error).__name__}: {error}; expected module:name of a Check"
        ) from error
    for check in loaded if isinstance(loaded, tuple) else (loaded,):
        if not isinstance(check, Check):
            raise UsageError(
                f"{_where(entry)}: got {type(check).__name__}; expected a qgate.Check or a tuple of"
                " them"
            )
        yield check


def _require_free(entry: EntryPoint, check: Check, other: Check | None) -> None:
    if not _NAME.fullmatch(check.name):
        raise UsageError(
            f"{_where(entry)}: got the name {check.name!r}; expected area.name of a-z, 0-9 and _"
        )
    is_taken = check.name in CHECKS or check.area in ("accuracy", "integrity")
    if is_taken or other not in (None, check):
        raise UsageError(
            f"{_where(entry)}: {check.name} is another row already. Give the check another name"
        )


def _where(entry: EntryPoint) -> str:
    kind = f"entry point {entry.name!r} of {GROUP}" if entry.group else entry.name
    return f"{kind}: {entry.value}"
