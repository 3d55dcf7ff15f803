"""Loads thresholds for tests: a team's file, over what the project ships."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qgate import runtimes
from qgate.thresholds import load_thresholds
from qgate.thresholds.bands import UNKNOWN

if TYPE_CHECKING:
    from qgate.thresholds import Thresholds

REPOSITORY = Path(__file__).parents[2]
SHIPPED = REPOSITORY / "thresholds" / "default.yaml"
TASKS = (
    "accuracy.everyday, accuracy.grammar, accuracy.stories, accuracy.classification, "
    "accuracy.next_sentence, accuracy.code, accuracy.drill"
)
GATED = (
    "perplexity.increase, perplexity.ratio, divergence.kl_mean, divergence.kl_p99, "
    f"divergence.same_top, {TASKS}, edge.long_input, edge.multilingual, edge.math, "
    "edge.repetition, edge.termination, edge.answer_length, edge.batch_invariance, "
    "edge.empty_prompt, edge.context_limit, latency.ttft, "
    "latency.itl, latency.tps, memory.weights, memory.kv_cache, memory.peak, memory.growth"
)
"""Rows with a shipped limit, in the order of a report."""
CHECKS = GATED.replace("latency.tps", "latency.tps, latency.ttft_slo, latency.itl_slo") + (
    ", memory.fits"
)
"""Rows that may have a limit where the shipped tasks are inherited."""
OWN = "  own: {file: own.jsonl, max_drop: 0.02}\n"
"""A task of a team's own, in the section `tasks`; the file lies in the fixture `team`."""
LAYERED = """\
version: 1
inherit: none
artifacts:
  "llama-*": {perplexity.ratio: {max: 1.03}}
  "*-draft": {perplexity.ratio: {max: 1.04}}
schemes:
  q8_0: {perplexity.ratio: {max: 1.02}}
limits:
  perplexity.ratio: {max: 1.01}
"""


def load(directory: Path, text: str, name: str = "team.yaml") -> Thresholds:
    (directory / name).write_text(text, encoding="utf-8")
    return load_thresholds(
        directory / name, shown_relative_to=directory, runtimes=runtimes.options()
    )


def bounds(
    thresholds: Thresholds, artifact_id: str, scheme: str, band: str = UNKNOWN
) -> dict[str, float | None]:
    limits = thresholds.limits_for(artifact_id, scheme, band)
    return {check: limit.max if limit.min is None else limit.min for check, limit in limits.items()}
