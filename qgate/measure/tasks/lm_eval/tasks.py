"""One task of lm-eval, loaded from what is on this machine, its requests built once.

Docs are drawn with a seed, never the first so many: files are often in an order. Few-shot examples
are those that lm-eval's own default seed draws.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgate.errors import QGateError, ThresholdsError
from qgate.measure.tasks.lm_eval.code import Runs, sandboxed
from qgate.measure.tasks.lm_eval.config import change_config, check_config
from qgate.measure.tasks.lm_eval.docs import Item, draw, make_items, require_different
from qgate.measure.tasks.lm_eval.index import find_task, read_raw
from qgate.measure.tasks.lm_eval.metrics import Metric, choose_metric
from qgate.measure.tasks.lm_eval.quiet import network, quiet, seeded
from qgate.measure.tasks.lm_eval.settings import FEWSHOT_SEED, HarnessSettings
from qgate.sandbox.chat_rendering import Renderer
from qgate.untrusted.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_LONGEST_REASON = 200
_OF_THE_NETWORK = (
    "ConnectionError",
    "OfflineModeIsEnabled",
    "LocalEntryNotFoundError",
    "DatasetNotFoundError",
    "HfHubHTTPError",
    "ConnectError",
    "ConnectTimeout",
)
"""What datasets, evaluate and huggingface_hub raise where they may not or cannot reach the hub."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedTask:
    """A task, its requests, and how its answers are scored."""

    settings: HarnessSettings
    task: Any
    """lm-eval's object; it reads the answers too."""
    items: tuple[Item, ...]
    available: int
    """Docs in the split, of which some may have been drawn."""
    repeated: int
    """Docs that are there more than once."""
    metric: Metric
    runs: Runs | None = None
    """What runs the programs that the answers are; None: nobody may run them."""


def load_task(settings: HarnessSettings) -> LoadedTask:
    """Load a task and build its requests.

    Raises:
        ThresholdsError: no such task, wrong settings, wrong data, or nothing on this machine to
            read it from.
        MeasurementError: the chat template cannot be applied.
    """
    _require_harness(settings)
    with quiet(), seeded(), network(is_allowed=not settings.is_offline):
        path = find_task(settings)
        raw = read_raw(path, settings)
        _guarded(settings, lambda: check_config(raw, settings))
        runs = Runs(settings.runner) if settings.runner is not None else None
        with sandboxed(runs):
            task = _guarded(settings, lambda: _make(path, settings))
        metric = _guarded(settings, lambda: choose_metric(task, settings))
        available = len(getattr(task, "task_docs", None) or task.eval_docs)
        numbers = draw(available, settings)
        _guarded(settings, lambda: _build_requests(task, numbers, settings))
        items = make_items(task, range(available) if numbers is None else numbers, settings)
    return LoadedTask(
        settings=settings,
        task=task,
        items=items,
        available=available,
        repeated=require_different(items, settings),
        metric=metric,
        runs=runs,
    )


def take(loaded: LoadedTask, numbers: Sequence[int]) -> LoadedTask:
    """The same task with these of its items, in this order, and their requests alone."""
    asked: list[Any] = []
    items = []
    for item in (loaded.items[number] for number in numbers):
        places = tuple(range(len(asked), len(asked) + len(item.places)))
        asked += [loaded.task.instances[place] for place in item.places]
        items.append(dataclasses.replace(item, places=places))
    task = copy.copy(loaded.task)  # its settings and filters are shared
    task._instances = asked
    return dataclasses.replace(loaded, task=task, items=tuple(items))


def _require_harness(settings: HarnessSettings) -> None:
    try:
        import lm_eval  # noqa: F401
    except ModuleNotFoundError:
        raise settings.error(
            "needs lm-evaluation-harness: got no module lm_eval; expected it installed."
            ' Install it with: pip install "pytest-qgate[tasks]"'
        ) from None


def _make(path: Path, settings: HarnessSettings) -> Any:  # noqa: ANN401 - lm-eval's
    from lm_eval.tasks import TaskManager
    from lm_eval.tasks._yaml_loader import load_yaml

    config = change_config(load_yaml(path, resolve_func=True), settings)
    manager = TaskManager(include_defaults=False)
    task = manager.load(config)["tasks"][settings.name]
    if task.get_config("num_fewshot") is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=FEWSHOT_SEED)
    return task


def _build_requests(task: Any, numbers: list[int] | None, settings: HarnessSettings) -> None:  # noqa: ANN401
    samples = None if numbers is None else set(numbers)
    if settings.chat is None:
        task.build_all_requests(samples=samples)
        return
    with Renderer(settings.chat) as renderer:

        def render(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
            return renderer.render([messages], adds_prompt=add_generation_prompt)[0]

        task.build_all_requests(
            samples=samples,
            apply_chat_template=True,
            fewshot_as_multiturn=True,  # the default of lm-eval's command line with a template
            chat_template=render,
        )


def _guarded(settings: HarnessSettings, load: Any) -> Any:  # noqa: ANN401 - a call and its value
    """What lm-eval and a task's own code raise, as one line."""
    try:
        return load()
    except QGateError:
        raise
    except ModuleNotFoundError as error:
        raise settings.error(
            f"needs a package: got no module {error.name}; expected it installed"
        ) from None
    except Exception as error:  # noqa: BLE001 - a task's own code may raise what it likes
        raise _explained(settings, error) from None


def _explained(settings: HarnessSettings, error: BaseException) -> ThresholdsError:
    reason = printable(" ".join(str(error).split()))[:_LONGEST_REASON]
    said = f"{type(error).__name__}: {reason}"
    if _is_of_the_network(error):
        return settings.error(
            f"needs what is not on this machine: got {said}; expected its docs in a local file."
            " Name one with data:, or a task of your own with include_path"
        )
    place = f"{settings.data}: " if settings.data is not None else ""
    is_of_fields = isinstance(error, KeyError) or type(error).__name__ == "UndefinedError"
    wanted = (
        "rows with the fields that its YAML names" if is_of_fields else "one that lm-eval loads"
    )
    return settings.error(f"{place}the task cannot be made: got {said}; expected {wanted}")


def _is_of_the_network(error: BaseException | None) -> bool:
    while error is not None:
        if any(kind.__name__ in _OF_THE_NETWORK for kind in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False
