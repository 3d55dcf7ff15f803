"""What one side's answers are worth, doc by doc: read by lm-eval's own filters and results.

An answer that says nothing counts as wrong, whatever a task would make of it.
"""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from qgate.errors import MeasurementError, QGateError
from qgate.measure.tasks.graded import Graded
from qgate.measure.tasks.lm_eval.code import evaluating
from qgate.measure.tasks.lm_eval.quiet import quiet, seeded
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.measure.tasks.lm_eval.docs import Item
    from qgate.measure.tasks.lm_eval.plan import Response
    from qgate.measure.tasks.lm_eval.tasks import LoadedTask

_LONGEST_REASON = 200


def score(loaded: LoadedTask, answers: Sequence[Response]) -> Graded:
    """Read one side's answers, of which the tokens are not known here.

    Args:
        loaded: the task.
        answers: one for each of its requests.

    Raises:
        MeasurementError: a lost answer; a result that is no number for a doc.
    """
    instances = loaded.task.instances
    if len(answers) != len(instances):
        raise MeasurementError(
            f"{loaded.settings.name}: lost answers: got {len(answers)}; expected {len(instances)}"
        )
    if loaded.runs is not None:
        loaded.runs.outcomes.clear()
    with quiet(), seeded(), evaluating(loaded.runs):
        filtered = _filter(loaded, answers)
        values = np.array([_value(loaded, item, filtered) for item in loaded.items])
    is_empty = np.array([_says_nothing(item, instances, answers) for item in loaded.items])
    if loaded.metric.higher_is_better:
        values[is_empty] = np.minimum(values[is_empty], 0.0)
    else:
        values[is_empty] = np.maximum(values[is_empty], 1.0)
    shown = [_shown(loaded, item, answers) for item in loaded.items]
    return Graded(
        values=values,
        texts=tuple(text for text, _ in shown),
        margins_nats=np.array([margin for _, margin in shown]),
        is_empty=is_empty,
        answer_tokens=np.zeros(0, dtype=int),
        in_one_process=_in_one_process(loaded),
    )


def _in_one_process(loaded: LoadedTask) -> int | None:
    if loaded.runs is None or not loaded.runs.outcomes:
        return None
    return sum(bool(one.in_one_process) for one in loaded.runs.outcomes)


def _filter(loaded: LoadedTask, answers: Sequence[Response]) -> list[Any]:
    """The answers as the metric's filter leaves them; nothing of them stays in the task."""
    instances = loaded.task.instances
    for instance, answer in zip(instances, answers, strict=True):
        instance.resps, instance.filtered_resps = [answer], {}
    try:
        loaded.task.apply_filters()
        return [instance.filtered_resps[loaded.metric.filter] for instance in instances]
    except QGateError:
        raise
    except Exception as error:  # noqa: BLE001 - a task's own code may raise what it likes
        raise _unread(loaded, "a filter", error) from None
    finally:
        for instance in instances:
            instance.resps, instance.filtered_resps = [], {}


def _value(loaded: LoadedTask, item: Item, filtered: Sequence[Any]) -> float:
    where = f"doc {item.number + 1}"
    try:
        results = loaded.task.process_results(
            copy.deepcopy(item.doc), [filtered[place] for place in item.places]
        )
    except QGateError:
        raise
    except Exception as error:  # noqa: BLE001 - the same
        raise _unread(loaded, where, error) from None
    name = loaded.metric.name
    if name not in results and name.startswith("pass_at"):
        name = next((key for key in results if key.startswith("pass@")), name)
    value = results.get(name)
    if isinstance(value, bool | int | float | np.number | np.bool_) and math.isfinite(value):
        return float(value)
    got = str(value) if isinstance(value, float) else f"a {type(value).__name__}"
    raise MeasurementError(
        f"{loaded.settings.name}: {where}: got {got} for {name}; expected a number for"
        f" every doc. Name another metric: the doc has {', '.join(results)}"
    )


def _unread(loaded: LoadedTask, where: str, error: Exception) -> MeasurementError:
    reason = printable(" ".join(str(error).split()))[:_LONGEST_REASON]
    return MeasurementError(
        f"{loaded.settings.name}: {where}: the task cannot read an answer: got"
        f" {type(error).__name__}: {reason}; expected a result"
    )


def _says_nothing(item: Item, instances: Sequence[Any], answers: Sequence[Response]) -> bool:
    said = [answers[place] for place in item.places]
    return any(isinstance(one, str) and not one.strip() for one in said)


def _shown(loaded: LoadedTask, item: Item, answers: Sequence[Response]) -> tuple[str, float]:
    """What was said, and by how many nats a wrong choice was preferred to the right one."""
    said = answers[item.places[0]]
    if isinstance(said, str):
        return said, 0.0
    if isinstance(said, float):
        return f"{said:.3f} nats", 0.0
    if not item.n_choices:
        verb = "said" if said[1] else "not said"
        return f"{verb} ({said[0]:.3f} nats)", 0.0
    places = item.places[: item.n_choices]
    totals = [one[0] for one in (answers[place] for place in places) if isinstance(one, tuple)]
    texts = [_choice(loaded, loaded.task.instances[place]) for place in places]
    weighed = [total / _length(loaded, text) for total, text in zip(totals, texts, strict=True)]
    margin = 0.0 if item.gold is None else max(totals) - totals[item.gold]
    return texts[int(np.argmax(weighed))], margin


def _choice(loaded: LoadedTask, instance: Any) -> str:  # noqa: ANN401 - lm-eval's
    is_of_contexts = getattr(loaded.task, "multiple_input", 0)
    text: str = instance.args[0 if is_of_contexts else 1]
    return text


def _length(loaded: LoadedTask, text: str) -> float:
    """What a choice's likelihood is divided by, as the metric has it."""
    own = text.removeprefix(str(loaded.task.get_config("target_delimiter") or ""))
    lengths = {"acc_norm": len(own), "acc_bytes": len(own.encode())}
    return float(max(lengths.get(loaded.metric.name, 1), 1))
