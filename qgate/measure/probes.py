"""Which probe fills which rows: tasks and edge cases, by what the thresholds file names.

A probe turns texts into work for a child (`work`), and both sides' answers into samples (`read`).
One call serves all rows of a probe, so that nothing is asked twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qgate.measure.edge.boundaries import BEGINNINGS, Boundaries
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.edge.invariance import BatchInvariance
from qgate.measure.edge.languages import Multilingual, documents_of
from qgate.measure.edge.long_input import LongInput
from qgate.measure.tasks.items import read_items
from qgate.measure.tasks.task import Task
from qgate.reference.prompts import read_conversations, read_languages, read_prompts, read_texts
from qgate.thresholds import shipped_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.measurement import Measurement
    from qgate.measure.tasks.task_list import TaskList
    from qgate.records import Artifact
    from qgate.reference.prompts import Asked
    from qgate.runtimes.requests import Pair, TokenizerClient, Work
    from qgate.thresholds import Thresholds

_MATH = "tasks/arithmetic.jsonl"
_CONVERSATIONS = 64
"""So many of their prompts are answered freely: the first ones, a fair mix of their slices."""


_STEP = 17
"""Prompts by which one seed begins later than the one before; no divisor of 48 or 96."""


class Asking(Protocol):
    """Something that is asked of both sides, all of a probe or a part."""

    @property
    def checks(self) -> tuple[str, ...]:
        """The rows that it fills."""

    def work(self, tokenizer: TokenizerClient) -> Work:
        """What is asked, as token ids.

        Raises:
            MeasurementError: it cannot be asked of this model.
        """


class Probe(Asking, Protocol):
    """Something that is asked of both sides, and what the answers say."""

    def read(self, pair: Pair) -> Measurement:
        """What the answers say.

        Raises:
            MeasurementError: the reference itself cannot answer.
        """


def find_probes(
    thresholds: Thresholds, tasks: TaskList, reference: Artifact | None = None
) -> tuple[Probe, ...]:
    """Every probe of a run, its files read and checked.

    Args:
        thresholds: of the run.
        tasks: what its tasks ask.
        reference: whose chat frame prompts are asked in; None: none.

    Raises:
        ThresholdsError: a file is missing or wrong, as `file:line: ...`.
    """
    edge, seed, shipped = thresholds.edge, thresholds.text.seed, shipped_path().parent
    prompts = read_prompts(shipped / "prompts" / "open.jsonl")
    asked = read_conversations(shipped / "prompts" / "conversations.jsonl")
    prose = read_texts(shipped / "prompts" / "prose.jsonl")
    documents = documents_of(
        read_languages(shipped / "prompts" / "documents.jsonl"),
        read_languages(shipped / "prompts" / "languages.jsonl"),
    )
    free = _from(seed, _mixed(asked[:_CONVERSATIONS], prompts))
    return (
        *tasks.probes(),
        LongInput(
            fillers=prose,
            most_tokens=edge.context_tokens,
            most_parts=edge.long_texts,
            seed=seed,
        ),
        Multilingual(documents=documents, most_members=edge.languages),
        Task(check="edge.math", file=read_items(shipped / _MATH, _MATH)),
        FreeRunning(
            prompts=free,
            answer_tokens=edge.answer_tokens,
            reference=reference,
        ),
        BatchInvariance.of(free),
        Boundaries(prompts=_from(seed, BEGINNINGS)),
    )


def _from(seed: int, prompts: Sequence[str]) -> tuple[str, ...]:
    """The same prompts in the same circle, begun elsewhere: which of them come first."""
    begin = seed * _STEP % len(prompts)
    return (*prompts[begin:], *prompts[:begin])


def _mixed(asked: Sequence[Asked], prompts: Sequence[str]) -> tuple[str, ...]:
    """All of both, so that any leading part has them in about their shares."""
    placed = [(place / len(asked), one.prompt) for place, one in enumerate(asked)]
    placed += [(place / len(prompts), prompt) for place, prompt in enumerate(prompts)]
    return tuple(prompt for _, prompt in sorted(placed, key=lambda one: one[0]))
