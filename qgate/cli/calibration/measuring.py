"""Measures the original twice: in its own child, and in a second one as if it were an artifact.

    tasks        both runs answer the same items, the second in another order (`order`)
    perplexity   both score the same windows in the same calls, as the gate has an artifact do
    latency      requests to both children in turns

The first run may come from the store of the original's answers; the second never does. The store
keeps the original's hidden states in 16 bits: what that rounds is part of the mean KL, here as in
the gate.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgate import errors
from qgate.cli.calibration.order import back_in_order, in_another_order
from qgate.measure.probes import find_probes
from qgate.measure.tasks.lm_eval.probe import HarnessTask
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.task import Task
from qgate.runtimes.requests import Pair, perform

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgate.gate.measurer import Measurer
    from qgate.measure.latency.rows import LatencySamples
    from qgate.measure.perplexity.divergence import Divergence
    from qgate.planning.plan import RunPlan
    from qgate.records import RuntimeFacts
    from qgate.runtimes.served_model import Serving


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Both runs' samples, paired; the second takes the place of an artifact."""

    runtime: RuntimeFacts
    answers: Mapping[str, PairedAnswers]
    """By row, in the order of the run."""
    divergence: Divergence
    latency: LatencySamples
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Tasks that tell nothing about this model, and why."""


def measure(measurer: Measurer, plan: RunPlan) -> Runs:
    """Run the original twice.

    Args:
        measurer: of the run.
        plan: of a run whose only artifact is the original once more, served as the original is.

    Raises:
        QGateError: it cannot be served, or a runtime failed.
    """
    probes = find_probes(plan.thresholds, plan.tasks)
    tasks = [probe for probe in probes if isinstance(probe, Task | HarnessTask)]
    twin = plan.artifacts[0].artifact
    with _naming(twin.id), contextlib.closing(measurer.children.serve(twin)) as second:
        latency = measurer.latency(second)  # first: nothing has been cached or fragmented yet
        divergence = measurer.divergence(second)
        answers, left_out = _answer_all(measurer, plan, second, tasks)
        return Runs(
            runtime=second.describe(),
            answers=answers,
            divergence=divergence,
            latency=latency,
            left_out=left_out,
        )


def _answer_all(
    measurer: Measurer, plan: RunPlan, second: Serving, tasks: list[Task | HarnessTask]
) -> tuple[dict[str, PairedAnswers], dict[str, str]]:
    answers: dict[str, PairedAnswers] = {}
    left_out: dict[str, str] = {}
    for task in tasks:
        try:
            work = measurer.plan(second, task)
        except errors.MeasurementError as error:  # too long for this model
            left_out[task.check] = str(error)
            continue
        runtime = plan.reference_runtime_of(second.artifact)
        reference = measurer.ask_original(runtime, work, task)
        with second.phase(task.check):
            again = perform(in_another_order(work), second.host, second.load().end_tokens)
        pair = Pair(work=work, reference=reference, artifact=back_in_order(again))
        try:
            read = task.read(pair)
        except errors.MeasurementError as error:  # the original does not know it
            left_out[task.check] = str(error)
            continue
        if isinstance(read, PairedAnswers):
            answers[task.check] = read
        else:
            left_out[task.check] = f"{task.check}: scores do not flip"
    return answers, left_out


@contextlib.contextmanager
def _naming(subject: str) -> Iterator[None]:
    """Say of an error which run's it was, where nobody has said so yet."""
    try:
        yield
    except errors.QGateError as error:
        if error.subject:
            raise
        raise errors.with_subject(error, subject) from error
