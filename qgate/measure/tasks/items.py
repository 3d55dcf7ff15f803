r"""Which questions a task asks: a file of JSON lines, checked before anything is loaded.

    {"prompt": "2 + 2 =", "answer": " 4"}
    {"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"}
    {"prompt": "def double(x):\n", "tests": "assert double(2) == 4"}

An item with `choices` is decided by the log-likelihood of each after the prompt, one without by a
generated answer. A choice item's `answer` may be an index into its choices, as Hugging Face
datasets have it. `tests` are Python, a text or a list of lines, run after the generated code where
the metric is code, which needs no `answer`. `group` names what several items are about, e.g. one
text: they resemble each other, and intervals take that into account. `id` is optional; other keys
are left alone. All items of a file are of one kind.

Reference and artifact answer the same items, so that answers are compared in pairs. Where only some
are asked they are a random sample, always the same: files are often sorted by subject, and their
first items stand for the first subject. lm-evaluation-harness's `--limit` takes the first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgate.errors import ThresholdsError
from qgate.thresholds.json_lines import Row, listed, most_often, read_rows
from qgate.thresholds.values import did_you_mean
from qgate.thresholds.values import shown as quoted
from qgate.untrusted.text import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgate.thresholds import TaskSettings

_EXAMPLE = '{"prompt": "2 + 2 =", "answer": " 4"}'
_LONGEST_ID = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One question with one right answer."""

    id: str
    """Unique in its file; the line's number where the file gives none."""
    prompt: str
    choices: tuple[str, ...]
    """At least two different continuations; empty: the answer is generated."""
    answer: str
    """One of `choices`, or what is expected to be generated; may be empty where there are tests."""
    tests: str = ""
    """Python that runs after generated code and raises where that is wrong."""
    group: str | None = None
    """What it is about, where several items are about the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemFile:
    """The items of a file that are asked, in file order; at least one."""

    name: str
    """The file's own name."""
    path: Path
    digest: str
    """`sha256:...` of the items that are asked: ids, prompts, choices and answers."""
    items: tuple[Item, ...]
    available: int
    """How many the file has; more than are asked where a sample was taken."""

    @property
    def has_choices(self) -> bool:
        return bool(self.items[0].choices)

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Of each item; None where every item stands for itself."""
        if all(item.group is None for item in self.items):
            return None
        return tuple(item.group or f"\0{item.id}" for item in self.items)

    def take(self, numbers: Sequence[int]) -> ItemFile:
        """These of its items, in this order."""
        items = tuple(self.items[number] for number in numbers)
        return dataclasses.replace(self, items=items, digest=_digest(items))


def read_task(task: TaskSettings) -> ItemFile:
    """The items of a task that a thresholds file names.

    Raises:
        ThresholdsError: as `read_items`, the file as the user would name it from where they are.
    """
    if task.file is None:
        raise ValueError(f"{task.name}: got a task of lm-eval; expected one with a file")
    here = Path.cwd()
    shown = task.file.relative_to(here) if task.file.is_relative_to(here) else task.file
    found = read_items(
        task.file, str(shown), max_samples=task.max_samples, is_code=task.metric == "code"
    )
    if found.has_choices != (task.choices or task.metric == "accuracy") and (
        task.choices or task.metric is not None
    ):
        has = "have choices" if found.has_choices else "have none"
        asked = "choices: true" if task.choices else f"metric: {task.metric}"
        raise ThresholdsError(
            f"{task.source}: tasks.{task.name}: got {asked}, while the items of {shown} {has};"
            " expected one that fits. metric: accuracy is for choices, the others for generated"
            " answers."
        )
    return found


def read_items(
    path: Path, shown: str, *, max_samples: int | None = None, is_code: bool = False
) -> ItemFile:
    """Read a file of items, all of it, and keep all or a sample.

    Args:
        path: the file.
        shown: what messages call it.
        max_samples: the size of the sample, at least 1; None for all.
        is_code: whether generated code is run: every item needs tests, none an answer.

    Raises:
        ThresholdsError: anything wrong with any line, as `shown:LINE: ...; expected ...`.
    """
    if max_samples is not None and max_samples < 1:
        raise ThresholdsError(f"{shown}: max_samples: got {max_samples}; expected at least 1.")
    rows = read_rows(path, shown, _EXAMPLE)
    items = [_read_item(row, is_code=is_code) for row in rows]
    _check_ids(rows, items)
    _check_contents(rows, items)
    asked = _sample(items, max_samples)
    return ItemFile(
        name=path.name, path=path, digest=_digest(asked), items=asked, available=len(items)
    )


def _read_item(row: Row, *, is_code: bool) -> Item:
    choices = _read_choices(row)
    is_answered = "answer" in row.values or not is_code
    return Item(
        id=_read_id(row),
        prompt=row.text("prompt"),
        choices=choices,
        answer=_read_answer(row, choices) if is_answered else "",
        tests=_read_tests(row) if is_code else "",
        group=_read_group(row),
    )


def _read_tests(row: Row) -> str:
    value = row.values.get("tests")
    if isinstance(value, list):
        return "\n".join(row.checked(f"tests[{at}]", line) for at, line in enumerate(value))
    return row.text("tests")


def _read_group(row: Row) -> str | None:
    value = row.values.get("group")
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return None if value is None else str(value) if is_number else row.checked("group", value)


def _read_id(row: Row) -> str:
    value = row.values.get("id")
    if value is None:
        return str(row.line)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    text = str(value) if is_number else row.checked("id", value)
    if len(text) > _LONGEST_ID or len(text.splitlines()) > 1:
        raise row.error(
            f"id: got {quoted(text)}; expected one line of at most {_LONGEST_ID} characters."
        )
    return text


def _read_choices(row: Row) -> tuple[str, ...]:
    values = row.values.get("choices")
    if values is None or values == []:
        return ()
    if not isinstance(values, list):
        raise row.error(f"choices: got {seen(values)}; expected a list of texts.")
    choices = tuple(row.checked(f"choices[{at}]", value) for at, value in enumerate(values))
    if len(choices) < 2:
        raise row.error(f"choices: got only {quoted(choices[0])}; expected at least 2 choices.")
    if len(set(choices)) < len(choices):
        raise row.error(
            f"choices: got {quoted(most_often(choices))} twice; expected different choices."
        )
    return choices


def _read_answer(row: Row, choices: tuple[str, ...]) -> str:
    value = row.values.get("answer")
    if choices and isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value < len(choices):
            raise row.error(
                f"answer: got {seen(value)}; expected an index from 0 to {len(choices) - 1}."
            )
        return choices[value]
    answer = row.text("answer")
    if choices and answer not in choices:
        raise row.error(
            f"answer: got {quoted(answer)}; expected one of the choices {listed(choices)}."
            f"{did_you_mean(answer, choices)}"
        )
    return answer


def _check_ids(rows: Sequence[Row], items: Sequence[Item]) -> None:
    lines: dict[str, int] = {}
    for row, item in zip(rows, items, strict=True):
        first = lines.setdefault(item.id, row.line)
        if first != row.line:
            raise row.error(
                f"duplicate id: got {quoted(item.id)} as on line {first}; expected another id."
            )


def _check_contents(rows: Sequence[Row], items: Sequence[Item]) -> None:
    """Refuse an item that is there twice, which would count twice, and two kinds in one file."""
    lines: dict[tuple[str, tuple[str, ...], str, str], int] = {}
    for row, item in zip(rows, items, strict=True):
        if bool(item.choices) != bool(items[0].choices):
            has, others = ("has", "have none") if item.choices else ("has no", "have some")
            raise row.error(
                f"mixed kinds: got an item that {has} choices while those before it {others}; "
                "expected items of one kind. Make two files of it."
            )
        first = lines.setdefault((item.prompt, item.choices, item.answer, item.tests), row.line)
        if first != row.line:
            raise row.error(
                f"duplicate item: got {quoted(item.prompt)} with the same answer as on line "
                f"{first}; expected every item once."
            )


def _sample(items: list[Item], most: int | None) -> tuple[Item, ...]:
    if most is None or most >= len(items):
        return tuple(items)
    rng = random.Random(0)  # noqa: S311 - a sample, not a secret
    return tuple(items[at] for at in sorted(rng.sample(range(len(items)), most)))


def _digest(items: tuple[Item, ...]) -> str:
    contents = [
        [item.id, item.prompt, item.choices, item.answer, *filter(None, (item.tests, item.group))]
        for item in items
    ]
    return f"sha256:{hashlib.sha256(json.dumps(contents).encode()).hexdigest()}"
