"""The gate's own measurements of the reference as if it were an artifact, in another order.

    tasks        both runs answer the same items, the second last to first and fewer side by side
    perplexity   both score the same windows in the same calls, as the gate has an artifact do
    latency      requests to both children in turns

The first run may come from the store of the reference's answers; the second never does. The store
keeps the reference's hidden states in 16 bits: what that rounds is part of the mean KL, here as in
the gate.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Any

from qgate import errors
from qgate.checks import accuracy_check
from qgate.gate.measurer import Measurer
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.planning.noise_floor import Flips, Noise, Runtime
from qgate.runtimes.requests import Outcome, Work
from qgate.stats.binomial import upper_share

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qgate.measure.probes import Asking, Probe
    from qgate.planning.plan import RunPlan
    from qgate.records import Estimate
    from qgate.runtimes.messages import Answers, Batch
    from qgate.runtimes.served_model import ServedModel

LEVEL = 0.95
"""One-sided of the flips' upper ends, two-sided of everything else."""
ALL = "all"
LATENCIES = ("latency.ttft", "latency.itl", "latency.tps")


class TwinMeasurer(Measurer):
    """Asks the second run in another order; what is asked does not change.

    Where a runtime's sums depend on who is beside whom in a call, its answers do.
    """

    def ask_artifact(self, serving: ServedModel, probe: Asking, work: Work) -> Outcome:
        """What it answers, in the order of the work."""
        return back_in_order(super().ask_artifact(serving, probe, in_another_order(work)))

    def plan(self, serving: ServedModel, probe: Asking, part: str = "") -> Work:
        """What is asked; a task that does not fit the model is left out and fails nothing."""
        try:
            return super().plan(serving, probe, part)
        except errors.MeasurementError as error:
            raise errors.NotApplicable(str(error)) from error

    def _narrowed(self, serving: ServedModel, probe: Probe) -> Probe:
        return probe  # the whole of it is asked, and no scout before


def in_another_order(work: Work) -> Work:
    """The same sequences and prompts; the answers are for `back_in_order`, not for a probe.

    Scored ranges stay out: they count the spans in their first order.
    """
    return Work(spans=work.spans[::-1], batches=tuple(map(_turned, work.batches)))


def _turned(batch: Batch) -> Batch:
    batch_size = max(1, batch.batch_size // 2)
    return dataclasses.replace(batch, prompts=batch.prompts[::-1], batch_size=batch_size)


def back_in_order(outcome: Outcome) -> Outcome:
    """What was answered to `in_another_order(work)`, as answers to the work itself."""
    return Outcome(
        nll_nats=outcome.nll_nats[::-1],
        is_top=outcome.is_top[::-1],
        answers=tuple(map(_turned_back, outcome.answers)),
        end_tokens=outcome.end_tokens,
    )


def _turned_back(answers: Answers) -> Answers:
    return dataclasses.replace(
        answers,
        ids=answers.ids[::-1],
        ends=answers.ends[::-1],
        texts=answers.texts[::-1],
        margins_nats=answers.margins_nats[::-1],
    )


def measure(measurer: TwinMeasurer, plan: RunPlan, **known: Any) -> Noise:  # noqa: ANN401 - fields
    """Run the reference twice.

    Args:
        measurer: of the run.
        plan: of a run whose only artifact is the reference once more, served as the reference is.
        known: fields of the noise floor that are not measured.

    Raises:
        QGateError: it cannot be served, or a runtime failed.
    """
    twin = plan.artifacts[0].artifact
    with contextlib.closing(measurer.children.serve(twin)) as second:
        try:
            return _measure(measurer, plan, second, known)
        except errors.QGateError as error:
            raise (error if error.subject else errors.with_subject(error, twin.id)) from error


def _measure(
    measurer: TwinMeasurer, plan: RunPlan, second: ServedModel, known: dict[str, Any]
) -> Noise:
    latency = measurer.latency(second)  # first: nothing has been cached or fragmented yet
    divergence = measurer.divergence(second)
    left_out: dict[str, str] = {}
    estimates: dict[str, Estimate] = {
        "perplexity.ratio": divergence.estimate("perplexity.ratio", LEVEL, {})
    }
    try:
        estimates["divergence.kl_mean"] = divergence.estimate("divergence.kl_mean", LEVEL, {})
    except errors.MeasurementError as error:  # a server that tells too few tokens
        left_out["divergence.kl_mean"] = str(error)
    estimates |= {check: latency.estimate(check, LEVEL, {}) for check in LATENCIES}
    pairs: dict[str, PairedAnswers] = {}
    tasks = [accuracy_check(task.name).name for task in plan.thresholds.tasks]
    for check in (*tasks, "edge.math"):
        try:
            answers = measurer.probe(second, check)
        except errors.NotApplicable as error:  # too long for this model, or not known to it
            left_out[check] = str(error)
            continue
        if isinstance(answers, PairedAnswers):
            pairs[check] = answers
        else:
            left_out[check] = f"{check}: scores do not flip"
    served = second.describe()
    return Noise(
        runtime=Runtime(name=served.name, version=served.version, device=served.device),
        flips=tuple(count_flips(check, [pair]) for check, pair in pairs.items()),
        all_flips=count_flips(ALL, pairs.values()) if pairs else None,
        estimates=estimates,
        left_out=left_out,
        **known,
    )


def count_flips(check: str, pairs: Iterable[PairedAnswers]) -> Flips:
    """Flips of one or several tasks; items count as independent."""
    items = flips = texts = 0
    for pair in pairs:
        items += len(pair.artifact)
        flips += int((pair.artifact != pair.reference).sum())
        both = zip(pair.artifact_texts, pair.reference_texts, strict=True)
        texts += sum(one != other for one, other in both)
    return Flips(
        check=check,
        items=items,
        flips=flips,
        upper=upper_share(items, flips, LEVEL),
        level=LEVEL,
        texts_differ=texts,
    )
