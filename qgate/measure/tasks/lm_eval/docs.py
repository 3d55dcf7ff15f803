"""The docs of a task: which are asked, what names them, and whether each can be answered."""

from __future__ import annotations

import hashlib
import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgate.errors import ThresholdsError
    from qgate.measure.tasks.lm_eval.settings import HarnessSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One doc that is asked."""

    doc: Mapping[str, Any]
    number: int
    """Of the doc in the split."""
    digest: str
    places: tuple[int, ...]
    """Its requests among those of the task."""
    prompt: str
    expected: str
    """The right answer, as it is shown."""
    n_choices: int
    """How many of its requests are choices, the first ones; 0: it has none."""
    gold: int | None
    """The right one of its choices, where one is right."""
    group: str | None = None
    """What it is about, where several docs are about the same."""


def draw(available: int, settings: HarnessSettings) -> list[int] | None:
    """Numbers of the docs that are asked, in their order; None: all of them."""
    if settings.max_samples is None or settings.max_samples >= available:
        return None
    rng = random.Random(0)  # noqa: S311 - a sample, no secret
    return sorted(rng.sample(range(available), settings.max_samples))


def digest_of(doc: object) -> str:
    """`sha256:...` of a doc as canonical JSON."""
    text = json.dumps(doc, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def digest_of_all(items: Sequence[Item]) -> str:
    """`sha256:...` of the docs asked, in their order."""
    joined = "".join(item.digest for item in items)
    return f"sha256:{hashlib.sha256(joined.encode()).hexdigest()}"


def make_items(
    task: Any,  # noqa: ANN401 - lm-eval's
    numbers: Sequence[int],
    settings: HarnessSettings,
) -> tuple[Item, ...]:
    """The docs of a task whose requests are built.

    Args:
        task: whose requests are of these docs.
        numbers: of the docs in the split.
        settings: how it is asked.

    Raises:
        ThresholdsError: a doc that asks nothing, without a target, or with one that is none of its
            choices.
    """
    places: dict[int, list[int]] = {}
    for place, instance in enumerate(task.instances):
        places.setdefault(instance.doc_id, []).append(place)
    items = []
    for asked, number in enumerate(numbers):
        own = places.get(asked, [])
        if not own:
            raise _wrong(settings, number, "it asks nothing: got no request; expected at least one")
        own.sort(key=lambda place: task.instances[place].idx)
        items.append(_make_item(task, number, tuple(own), settings))
    return tuple(items)


def _make_item(
    task: Any,  # noqa: ANN401 - lm-eval's
    number: int,
    places: tuple[int, ...],
    settings: HarnessSettings,
) -> Item:
    first = task.instances[places[0]]
    doc, target = first.doc, task.doc_to_target(first.doc)
    choices = list(task.doc_to_choice(doc)) if task.get_config("doc_to_choice") else []
    is_graded_by_itself = callable(task.get_config("process_results"))
    if not is_graded_by_itself and _is_blank(target, task, doc):
        raise _wrong(settings, number, f"no target: got {target!r}; expected the right answer")
    # where the choices are contexts, doc_to_text says which is right and doc_to_target what follows
    told = task.doc_to_text(doc) if getattr(task, "multiple_input", 0) else target
    gold = choices.index(told) if isinstance(told, str) and told in choices else told
    is_named = _is_place(gold, choices)
    if task.OUTPUT_TYPE == "multiple_choice":
        if len(choices) < 2:
            raise _wrong(settings, number, f"choices: got {len(choices)}; expected at least 2")
        rights = told if isinstance(told, list) else [gold]
        if not rights or not all(_is_place(right, choices) for right in rights):
            wanted = f"one of its {len(choices)} choices"
            raise _wrong(settings, number, f"target: got {told!r}; expected {wanted}")
    return Item(
        doc=doc,
        number=number,
        digest=digest_of(doc),
        places=places,
        prompt=str(first.args[0]),
        expected=str(choices[gold]) if is_named else _shown(target),
        n_choices=min(len(choices), len(places)) if len(places) > 1 else 0,
        gold=gold if is_named else None,
        group=_group(doc, number, settings),
    )


def _is_place(gold: object, choices: Sequence[object]) -> bool:
    return isinstance(gold, int) and 0 <= gold < len(choices)


def _group(doc: Mapping[str, Any], number: int, settings: HarnessSettings) -> str | None:
    if settings.group is None:
        return None
    if settings.group not in doc:
        fields = ", ".join(map(str, doc))
        raise _wrong(
            settings, number, f"group: got no field {settings.group!r}; expected one of {fields}"
        )
    value = doc[settings.group]
    return f"\0{number}" if value is None else str(value)


def _is_blank(target: object, task: Any, doc: Mapping[str, Any]) -> bool:  # noqa: ANN401
    if target is None or target == []:
        return True
    if not isinstance(target, str):
        return False
    if not target.strip():
        return True
    template = task.get_config("doc_to_target")
    return target.strip() == "None" and isinstance(template, str) and _names_nothing(template, doc)


def _names_nothing(template: str, doc: Mapping[str, Any]) -> bool:
    """Whether a template names a field that is null: jinja2 writes `None` for it."""
    from jinja2 import Environment, meta

    # parsed and never rendered
    tree = Environment(autoescape=True).parse(template)
    return any(doc.get(name) is None for name in meta.find_undeclared_variables(tree))


def _shown(target: object) -> str:
    return " | ".join(map(str, target)) if isinstance(target, list) else str(target)


def require_different(items: Sequence[Item], settings: HarnessSettings) -> int:
    """How many docs are there more than once.

    Raises:
        ThresholdsError: there are some in data of the user's own.
    """
    seen: dict[str, int] = {}
    twice = 0
    for item in items:
        before = seen.setdefault(item.digest, item.number)
        if before == item.number:
            continue
        twice += 1
        if settings.data is not None or settings.include_path is not None:
            raise _wrong(
                settings,
                item.number,
                f"got the same doc as number {before + 1}; expected every doc once. Leave one out",
            )
    return twice


def _wrong(settings: HarnessSettings, number: int, message: str) -> ThresholdsError:
    place = str(settings.data) if settings.data is not None else settings.name
    return settings.error(f"{place}: doc {number + 1}: {message}")
