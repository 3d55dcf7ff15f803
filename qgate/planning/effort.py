"""How much may be asked: `--qgate-effort quick|standard|thorough`, one table.

Effort is the size of the samples and nothing else: limits, rules and errors are the same. Fewer
samples make wider intervals, so that `quick` ends INCONCLUSIVE where `standard` decides, and its
alarms see only large damage. It replaces what qgate ships; what a thresholds file sets by hand wins
over it, key by key.

`standard` is sized so that an artifact of 135 M parameters takes some 200 s on two cores, less
where it fails early; `quick` asks a third of that or less.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.thresholds.scalars import did_you_mean, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.measure.probes import Probe
    from qgate.thresholds import EdgeSettings, TaskSettings, Thresholds

DEFAULT = "standard"


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """Sizes of what is asked at most; each can be set in a thresholds file."""

    name: str
    windows: int
    """text.windows"""
    task_items: int | None
    """Of each shipped task: max_samples; None: all."""
    long_context_tokens: int
    """edge.context_tokens"""
    long_texts: int
    """edge.long_texts"""
    documents: int
    """edge.documents: of each language."""
    prompts: int
    """edge.prompts: of the free-running answers."""
    batch_prompts: int
    """edge.batch_prompts"""
    pairs: int
    """latency.pairs"""
    output_tokens: int
    """latency.output_tokens"""
    warmup: int
    """latency.warmup"""
    batches: int
    """memory.batches"""
    warmup_batches: int
    """memory.warmup_batches"""
    context_tokens: int
    """memory.context_tokens"""

    def over(self, shipped: Thresholds) -> Thresholds:
        """What is shipped, with these sizes in place of its own."""
        return dataclasses.replace(
            shipped,
            text=dataclasses.replace(shipped.text, windows=self.windows),
            tasks=tuple(self._sized(task) for task in shipped.tasks),
            edge=dataclasses.replace(
                shipped.edge,
                context_tokens=self.long_context_tokens,
                long_texts=self.long_texts,
                documents=self.documents,
                prompts=self.prompts,
                batch_prompts=self.batch_prompts,
            ),
            latency=dataclasses.replace(
                shipped.latency,
                pairs=self.pairs,
                output_tokens=self.output_tokens,
                warmup=self.warmup,
            ),
            memory=dataclasses.replace(
                shipped.memory,
                batches=self.batches,
                warmup_batches=self.warmup_batches,
                context_tokens=self.context_tokens,
            ),
        )

    def _sized(self, task: TaskSettings) -> TaskSettings:
        if self.task_items is None or task.max_samples is not None:
            return task
        return dataclasses.replace(task, max_samples=self.task_items)


EFFORTS: Mapping[str, Effort] = MappingProxyType(
    {
        effort.name: effort
        for effort in (
            Effort(
                name="quick",
                windows=20,
                task_items=50,
                long_context_tokens=1024,
                long_texts=4,
                documents=4,
                prompts=16,
                batch_prompts=8,
                pairs=8,
                output_tokens=24,
                warmup=1,
                batches=30,
                warmup_batches=20,
                context_tokens=512,
            ),
            Effort(
                name="standard",
                windows=64,
                task_items=200,
                long_context_tokens=4096,
                long_texts=8,
                documents=12,
                prompts=48,
                batch_prompts=32,
                pairs=24,
                output_tokens=32,
                warmup=2,
                batches=60,
                warmup_batches=60,
                context_tokens=2048,
            ),
            Effort(
                name="thorough",
                windows=192,
                task_items=None,
                long_context_tokens=16_384,
                long_texts=16,
                documents=24,
                prompts=96,
                batch_prompts=96,
                pairs=48,
                output_tokens=48,
                warmup=3,
                batches=120,
                warmup_batches=100,
                context_tokens=8192,
            ),
        )
    }
)


def find_effort(name: str | None) -> Effort:
    """The effort of that name; None: the default.

    Raises:
        UsageError: there is none.
    """
    found = EFFORTS.get(name or DEFAULT)
    if found is None:
        names = ", ".join(EFFORTS)
        hint = did_you_mean(str(name), EFFORTS)
        raise UsageError(
            f"--qgate-effort: got {shown(str(name))}; expected one of {names}.{hint}"
        )
    return found


def cut(probe: Probe, edge: EdgeSettings) -> Probe:
    """The probe with no more of its units than the settings allow.

    The first ones where its order is mixed (`is_mixed`), else evenly spread over them.
    """
    most, size = _most(probe, edge), int(getattr(probe, "size", 0))
    take = getattr(probe, "take", None)
    if take is None or most is None or size <= most:
        return probe
    is_mixed = bool(getattr(probe, "is_mixed", False))
    numbers = range(most) if is_mixed else [number * size // most for number in range(most)]
    taken: Probe = take(numbers)
    return taken


def _most(probe: Probe, edge: EdgeSettings) -> int | None:
    languages = len(getattr(probe, "documents", ())) or 1
    most = {
        "edge.long_input": edge.long_texts,
        "edge.multilingual": edge.documents * languages,
        "edge.repetition": edge.prompts,
        "edge.batch_invariance": edge.batch_prompts,
    }
    return most.get(probe.checks[0])
