"""Which probe fills which rows: tasks and edge cases, by what the thresholds file names.

A probe turns texts into work for a child (`work`), and both sides' answers into samples (`read`).
One call serves all rows of a probe, so that nothing is asked twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from qgate.measure.edge.boundaries import Boundaries
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.edge.invariance import BatchInvariance
from qgate.measure.edge.languages import Multilingual, documents_of
from qgate.measure.edge.long_input import LongInput
from qgate.measure.items import read_items
from qgate.measure.prompts import read_languages, read_prompts, read_texts
from qgate.measure.tasks import Task
from qgate.thresholds import shipped_path

if TYPE_CHECKING:
    from qgate.measure.measurement import Measurement
    from qgate.measure.task_list import TaskList
    from qgate.measure.work import Pair, Speaker, Work
    from qgate.thresholds import Thresholds

_MATH = "tasks/arithmetic.jsonl"


class Asking(Protocol):
    """Something that is asked of both sides, all of a probe or a part."""

    @property
    def checks(self) -> tuple[str, ...]:
        """The rows that it fills."""

    def work(self, speaker: Speaker) -> Work:
        """What is asked, as token ids.

        Raises:
            MeasurementError: it cannot be asked of this model.
        """


class Probe(Asking, Protocol):
    """Something that is asked of both sides, and what the answers say."""

    def read(self, pair: Pair) -> Measurement:
        """What the answers say.

        Raises:
            MeasurementError: the original itself cannot answer.
        """


def find_probes(thresholds: Thresholds, tasks: TaskList) -> tuple[Probe, ...]:
    """Every probe of a run, its files read and checked.

    Args:
        thresholds: of the run.
        tasks: what its tasks ask.

    Raises:
        ThresholdsError: a file is missing or wrong, as `file:line: ...`.
    """
    edge, shipped = thresholds.edge, shipped_path().parent
    prompts = read_prompts(shipped / "prompts" / "open.jsonl")
    prose = read_texts(shipped / "prompts" / "prose.jsonl")
    documents = documents_of(
        read_languages(shipped / "prompts" / "documents.jsonl"),
        read_languages(shipped / "prompts" / "languages.jsonl"),
    )
    return (
        *tasks.probes(),
        LongInput(fillers=prose, most_tokens=edge.context_tokens),
        Multilingual(documents=documents),
        Task(check="edge.math", file=read_items(shipped / _MATH, _MATH)),
        FreeRunning(prompts=prompts, answer_tokens=edge.answer_tokens),
        BatchInvariance.of(prompts),
        Boundaries(),
    )
