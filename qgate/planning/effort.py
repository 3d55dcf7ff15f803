"""How much may be asked: `--qgate-effort quick|standard|thorough`, one table.

Effort is the size of the samples and nothing else: limits, rules and errors are the same. Fewer
samples make wider intervals, so that `quick` ends INCONCLUSIVE where `standard` decides, and its
alarms see only large damage. It replaces what qgate ships; what a thresholds file sets by hand wins
over it, key by key.

`standard` is sized so that a gate of SmolLM2-135M and three artifacts takes some one and a half
times as long on two CPU cores as llama-perplexity does for 64 windows of each: 65 s for the
reference, 40 to 50 s for an artifact. `quick` takes a third of that. Its alarms still need 16
answers and its tasks 30 items to show anything, its likelihoods 16 conversations to pass what is
sound, and what the reference does not know has to be found out. So it leaves out what costs most:
all but three languages, `edge.math` and `edge.batch_invariance`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.errors import UsageError
from qgate.thresholds.values import did_you_mean, shown

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
    conversation_tokens: int
    """text.conversation_tokens"""
    extend: bool
    """text.extend"""
    task_items: int | None
    """Of each shipped task: max_samples; None: all."""
    long_context_tokens: int
    """edge.context_tokens"""
    long_texts: int
    """edge.long_texts"""
    documents: int
    """edge.documents: of each language."""
    languages: int
    """edge.languages: the reference knows best."""
    prompts: int
    """edge.prompts: of the free-running answers."""
    answer_tokens: int
    """edge.answer_tokens"""
    batch_prompts: int
    """edge.batch_prompts; 0: the row is skipped."""
    math_items: int
    """edge.math_items; 0: the row is skipped."""
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
        text = {
            "windows": self.windows,
            "conversation_tokens": self.conversation_tokens,
            "extend": self.extend,
        }
        edge = {
            "context_tokens": self.long_context_tokens,
            "long_texts": self.long_texts,
            "documents": self.documents,
            "languages": self.languages,
            "prompts": self.prompts,
            "answer_tokens": self.answer_tokens,
            "batch_prompts": self.batch_prompts,
            "math_items": self.math_items,
        }
        latency = {"pairs": self.pairs, "output_tokens": self.output_tokens, "warmup": self.warmup}
        memory = {
            "batches": self.batches,
            "warmup_batches": self.warmup_batches,
            "context_tokens": self.context_tokens,
        }
        return dataclasses.replace(
            shipped,
            text=shipped.text.model_copy(update=text),
            tasks=tuple(self._sized(task) for task in shipped.tasks),
            edge=shipped.edge.model_copy(update=edge),
            latency=shipped.latency.model_copy(update=latency),
            memory=shipped.memory.model_copy(update=memory),
        )

    def _sized(self, task: TaskSettings) -> TaskSettings:
        most = [count for count in (self.task_items, task.max_samples) if count is not None]
        return task.model_copy(update={"max_samples": min(most, default=None)})


EFFORTS: Mapping[str, Effort] = MappingProxyType(
    {
        effort.name: effort
        for effort in (
            Effort(
                name="quick",
                windows=16,
                conversation_tokens=160,
                extend=False,  # an open row asks for standard effort
                task_items=30,
                long_context_tokens=1024,
                long_texts=1,
                documents=4,
                languages=3,
                prompts=16,
                answer_tokens=40,
                batch_prompts=0,  # of 16 prompts 8 would have to change
                math_items=0,  # answers that are generated cost ten times those that are chosen
                pairs=6,
                output_tokens=8,
                warmup=1,
                batches=30,
                warmup_batches=5,
                context_tokens=320,
            ),
            Effort(
                name="standard",
                windows=32,
                conversation_tokens=320,
                extend=True,
                task_items=150,  # a quarter of fewer would not show that none is known
                long_context_tokens=4096,
                long_texts=1,
                documents=12,
                languages=64,
                prompts=32,
                answer_tokens=72,
                batch_prompts=32,
                math_items=150,
                pairs=24,
                output_tokens=16,
                warmup=1,
                batches=40,
                warmup_batches=10,
                context_tokens=1024,
            ),
            Effort(
                name="thorough",
                windows=64,
                conversation_tokens=512,
                extend=True,
                task_items=None,
                long_context_tokens=16_384,
                long_texts=4,
                documents=24,
                languages=64,
                prompts=96,
                answer_tokens=256,
                batch_prompts=96,
                math_items=400,
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
        raise UsageError(f"--qgate-effort: got {shown(str(name))}; expected one of {names}.{hint}")
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
    members = {document.member for document in getattr(probe, "documents", ())}
    most = {
        "edge.long_input": edge.long_texts,
        "edge.multilingual": edge.documents * len(members),
        "edge.math": edge.math_items,
        "edge.empty_prompt": edge.prompts,
        "edge.repetition": edge.prompts,
        "edge.batch_invariance": edge.batch_prompts,
    }
    return most.get(probe.checks[0])
