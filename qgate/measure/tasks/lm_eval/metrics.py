"""Which of a task's metrics is gated: one that has a value for every doc.

A corpus-level metric (perplexity, BLEU of all answers together, F1 over classes) has none, so that
reference and artifact could not be compared doc by doc.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.thresholds.values import did_you_mean, shown

if TYPE_CHECKING:
    from qgate.measure.tasks.lm_eval.settings import HarnessSettings

_BY_DOC = frozenset({"mean", "nanmean", "median"})
_LM_EVAL = "lm_eval.api."
GRADED = ("rouge", "bleu", "f1", "chrf", "ter", "bert", "meteor", "similarity", "likelihood")
"""How metrics between 0 and 1 begin, also where a few docs happen to have only the two."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What is read of the results of a doc."""

    name: str
    filter: str
    """The answers it is computed from, by lm-eval's name for them."""
    higher_is_better: bool

    @property
    def is_graded(self) -> bool:
        return self.name.lower().startswith(GRADED)


def choose_metric(task: Any, settings: HarnessSettings) -> Metric:  # noqa: ANN401 - lm-eval's
    """The metric that the settings name, or the task's first.

    Raises:
        ThresholdsError: no such metric or filter, or one without a value for every doc.
    """
    wanted, _, wanted_filter = (settings.metric or "").partition(",")
    aggregations = task.aggregation()
    filters = [one.name for one in task._filters]
    by_doc = [name for name in aggregations if has_values(aggregations[name])]
    name = wanted or next(iter(aggregations))
    if name.startswith("pass@") and name not in aggregations:
        # code_eval's results have names of their own
        name = next((one for one in aggregations if one.startswith("pass_at")), name)
    if name not in aggregations:
        raise settings.error(
            f"metric: got {shown(name)}; expected one of {', '.join(aggregations)}."
            f"{did_you_mean(name, aggregations)}"
        )
    if wanted_filter and wanted_filter not in filters:
        raise settings.error(
            f"metric: got the filter {shown(wanted_filter)}; expected one of {', '.join(filters)}."
            f"{did_you_mean(wanted_filter, filters)}"
        )
    if name not in by_doc:
        remedy = f" Set metric to one of {', '.join(by_doc)}" if by_doc else ""
        raise settings.error(
            f"metric: got {name}, one number for all docs together; expected one with a value for"
            f" every doc.{remedy}"
        )
    is_graded_by_itself = callable(task.get_config("process_results"))
    if not is_graded_by_itself and getattr(task, "_metric_fn_list", {name: 0}).get(name, 0) is None:
        raise settings.error(
            f"metric: {name} is none of lm-eval's own and needs what is not on this machine;"
            " expected one that is. Write a process_results of your own that computes it"
        )
    return Metric(
        name=wanted if wanted.startswith("pass@") else name,
        filter=wanted_filter or filters[0],
        higher_is_better=bool(task.higher_is_better().get(name, True)),
    )


def has_values(aggregation: Any) -> bool:  # noqa: ANN401 - a function of lm-eval or of a task
    """Whether what is aggregated can be numbers of docs; of a task's own function it may be."""
    is_of_lm_eval = str(getattr(aggregation, "__module__", "")).startswith(_LM_EVAL)
    return not is_of_lm_eval or getattr(aggregation, "__name__", "") in _BY_DOC
