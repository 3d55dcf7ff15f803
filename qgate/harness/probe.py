"""The probe of a row of accuracy that lm-eval grades: both sides are asked, doc by doc."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.harness.docs import digest_of_all
from qgate.harness.plan import HarnessWork, plan, responses
from qgate.harness.scores import score
from qgate.measure.chance import require_known
from qgate.measure.oddities import odd_lengths
from qgate.measure.paired_answers import PairedAnswers
from qgate.measure.paired_scores import PairedScores

if TYPE_CHECKING:
    from qgate.harness.metrics import Metric
    from qgate.harness.scores import Scores
    from qgate.harness.tasks import LoadedTask
    from qgate.measure.work import Pair, Speaker


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """A task of lm-eval as a probe."""

    check: str
    loaded: LoadedTask
    min_reference: float | None = None
    """Least share of right answers of the original; None: so much above chance."""

    @property
    def checks(self) -> tuple[str, ...]:
        return (self.check,)

    def work(self, speaker: Speaker) -> HarnessWork:
        """Token ids of every request of the task.

        Raises:
            MeasurementError: an answer does not fit the model's context.
        """
        return plan(self.loaded.task.instances, speaker, self._names())

    def _names(self) -> dict[int, str]:
        items = self.loaded.items
        return {place: f"doc {item.number + 1}" for item in items for place in item.places}

    def read(self, pair: Pair) -> PairedAnswers | PairedScores:
        """What each side's answers are worth: right or wrong, or a score between.

        Raises:
            MeasurementError: a lost answer, one that the task cannot grade, or the original is
                hardly better than chance.
        """
        work = pair.work
        if not isinstance(work, HarnessWork):
            raise MeasurementError(
                f"{self.check}: got work of another kind; expected this task's own"
            )
        reference = score(self.loaded, responses(work, pair.reference))
        artifact = score(self.loaded, responses(work, pair.artifact))
        metric, items = self.loaded.metric, self.loaded.items
        shown: dict[str, Any] = {
            "prompts": tuple(item.prompt for item in items),
            "artifact_texts": artifact.texts,
            "reference_texts": reference.texts,
            "expected": tuple(item.expected for item in items),
            "more": {**odd_lengths(pair), **self._more(work, artifact, reference)},
        }
        if metric.is_graded or not (_is_binary(artifact) and _is_binary(reference)):
            own, theirs = (_more_is_better(one.values, metric) for one in (artifact, reference))
            return PairedScores(artifact=own, reference=theirs, **shown)
        is_good = reference.values == float(metric.higher_is_better)
        name, least = self.loaded.settings.name, self.min_reference
        require_known(self.check, name, float(is_good.mean()), shown["more"]["chance"], least)
        return PairedAnswers(
            artifact=artifact.values == 1,
            reference=reference.values == 1,
            is_good=metric.higher_is_better,
            severity=artifact.margins_nats,
            **shown,
        )

    def _more(self, work: HarnessWork, artifact: Scores, reference: Scores) -> dict[str, Any]:
        from importlib.metadata import version

        loaded, items = self.loaded, self.loaded.items
        choices = [item.n_choices for item in items if item.n_choices]
        return {
            "harness": f"lm_eval {version('lm_eval')}",
            "task": loaded.settings.name,
            "task_version": str(loaded.task.VERSION),
            "metric": loaded.metric.name,
            "filter": loaded.metric.filter,
            "num_fewshot": int(loaded.task.get_config("num_fewshot") or 0),
            "items": digest_of_all(items),
            "asked": len(items),
            "available": loaded.available,
            "repeated": loaded.repeated,
            "chance": sum(1 / count for count in choices) / len(items),
            "truncated": work.truncated,
            "empty": {
                "artifact": int(artifact.is_empty.sum()),
                "reference": int(reference.is_empty.sum()),
            },
        }


def _more_is_better(values: np.ndarray, metric: Metric) -> np.ndarray:
    return values if metric.higher_is_better else 1 - values


def _is_binary(scores: Scores) -> bool:
    return bool(np.isin(scores.values, (0, 1)).all())
