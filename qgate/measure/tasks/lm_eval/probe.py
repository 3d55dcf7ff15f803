"""The probe of a row of accuracy that lm-eval grades: both sides are asked, doc by doc."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError
from qgate.measure.tasks.graded import GradedTask, Questions, compare
from qgate.measure.tasks.lm_eval.docs import digest_of_all
from qgate.measure.tasks.lm_eval.plan import HarnessWork, plan, responses
from qgate.measure.tasks.lm_eval.scores import score
from qgate.measure.tasks.lm_eval.tasks import take

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.tasks.graded import Graded
    from qgate.measure.tasks.lm_eval.docs import Item
    from qgate.measure.tasks.lm_eval.tasks import LoadedTask
    from qgate.measure.tasks.paired_binary import PairedAnswers
    from qgate.measure.tasks.paired_scores import PairedScores
    from qgate.runtimes.requests import Outcome, TokenizerClient, Work


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask(GradedTask):
    """A task of lm-eval as a probe."""

    loaded: LoadedTask

    def work(self, tokenizer: TokenizerClient) -> HarnessWork:
        """Token ids of every request of the task.

        Raises:
            MeasurementError: an answer does not fit the model's context.
        """
        return plan(self.loaded.task.instances, tokenizer, self._names())

    def _names(self) -> dict[int, str]:
        items = self.loaded.items
        return {place: _name(item) for item in items for place in item.places}

    @property
    def size(self) -> int:
        """Docs that are asked."""
        return len(self.loaded.items)

    def take(self, numbers: Sequence[int]) -> HarnessTask:
        """The same task with these of its docs, in this order."""
        return dataclasses.replace(self, loaded=take(self.loaded, numbers))

    def grade(self, work: Work, outcome: Outcome) -> Graded:
        """What one side's answers are worth; more is better.

        Raises:
            MeasurementError: a lost answer, or one that the task cannot grade.
        """
        if not isinstance(work, HarnessWork):
            raise MeasurementError(
                f"{self.check}: got work of another kind; expected this task's own"
            )
        found = score(self.loaded, responses(work, outcome))
        is_better = self.loaded.metric.higher_is_better
        tokens = [len(ids) for answers in outcome.answers for ids in answers.ids]
        return dataclasses.replace(
            found,
            values=found.values if is_better else 1 - found.values,
            answer_tokens=np.array(tokens, dtype=int),
            truncated=work.truncated,
        )

    def compare(self, artifact: Graded, reference: Graded) -> PairedAnswers | PairedScores:
        loaded, items = self.loaded, self.loaded.items
        is_grouped = loaded.settings.group is not None
        chance = sum(1 / item.n_choices for item in items if item.n_choices) / len(items)
        asked = Questions(
            check=self.check,
            task=loaded.settings.name,
            names=[_name(item) for item in items],
            prompts=tuple(item.prompt for item in items),
            expected=tuple(item.expected for item in items),
            groups=tuple(item.group or "" for item in items) if is_grouped else None,
            chance=chance,
            min_reference=self.min_reference,
            more={"chance": chance, **self._more(artifact, reference)},
        )
        is_score = loaded.metric.is_graded or not (artifact.is_binary and reference.is_binary)
        return compare(asked, artifact, reference, is_score=is_score)

    def _more(self, artifact: Graded, reference: Graded) -> dict[str, Any]:
        from importlib.metadata import version

        loaded = self.loaded
        return {
            "harness": f"lm_eval {version('lm_eval')}",
            "task": loaded.settings.name,
            "task_version": str(loaded.task.VERSION),
            "metric": loaded.metric.name,
            "filter": loaded.metric.filter,
            "num_fewshot": int(loaded.task.get_config("num_fewshot") or 0),
            "items": digest_of_all(loaded.items),
            "asked": len(loaded.items),
            "available": loaded.available,
            "repeated": loaded.repeated,
            "truncated": artifact.truncated,
            "empty": {
                "artifact": int(artifact.is_empty.sum()),
                "reference": int(reference.is_empty.sum()),
            },
        }


def _name(item: Item) -> str:
    return f"doc {item.number + 1}"
