"""The tasks of a run, read once: counted while rows are collected, asked when artifacts are served.

A task is a file of items, or one of lm-eval by its name; both become probes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn

from qgate.artifacts.tokenizer.chat_template import chat_template_of
from qgate.errors import MeasurementError, ThresholdsError
from qgate.measure.tasks.code_execution import make_runner
from qgate.measure.tasks.items import read_task
from qgate.measure.tasks.metrics import SCORES
from qgate.records import Asked

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgate.measure.tasks.items import ItemFile
    from qgate.measure.tasks.lm_eval.probe import HarnessTask
    from qgate.measure.tasks.lm_eval.tasks import LoadedTask
    from qgate.measure.tasks.scorers import Scorer
    from qgate.measure.tasks.task import Task
    from qgate.records import Artifact
    from qgate.runtimes.requests import Pair, TokenizerClient
    from qgate.sandbox.chat import Chat
    from qgate.thresholds import TaskSettings, Thresholds

_OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_TRUE = ("1", "ON", "YES", "TRUE")


class TaskList:
    """What the `tasks` of a thresholds file ask.

    Args:
        thresholds: of the run.
        reference: whose chat template questions are put into, where a task wants that.
        scorers: functions of the project's own that grade answers, by name.

    Raises:
        ThresholdsError: a file or a task is missing or wrong, at its line.
    """

    def __init__(
        self,
        thresholds: Thresholds,
        reference: Artifact | None,
        scorers: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._tasks = thresholds.tasks
        self._files: dict[str, ItemFile] = {}
        self._scorers: dict[str, Scorer] = {}
        self._loaded: dict[str, LoadedTask] = {}
        self._unasked: dict[str, UnaskedTask] = {}
        for task in thresholds.tasks:
            if task.lm_eval is None:
                self._files[task.name] = read_task(task)
                if task.score is not None:
                    file = self._files[task.name]
                    self._scorers[task.name] = _find_scorer(task, file, scorers)
                continue
            try:
                self._loaded[task.name] = _load(task, reference)
            except MeasurementError as error:  # of its row, and not of the run
                self._unasked[task.name] = UnaskedTask(check=task.check.name, why=str(error))

    def asked(self) -> list[Asked]:
        """How many items each has, and what is known of them before anybody answers."""
        return [self._ask(task) for task in self._tasks if task.name not in self._unasked]

    def probes(self) -> list[Task | HarnessTask | UnaskedTask]:
        """What is asked of reference and artifacts."""
        return [self._unasked.get(task.name) or self._probe(task) for task in self._tasks]

    def _probe(self, task: TaskSettings) -> Task | HarnessTask:
        if task.lm_eval is None:
            return _of_file(task, self._files[task.name], self._scorers.get(task.name))
        return _of_lm_eval(task, self._loaded[task.name])

    def _ask(self, task: TaskSettings) -> Asked:
        if task.lm_eval is None:
            file = self._files[task.name]
            is_scored = task.score is not None or task.metric in SCORES
            items, is_yes_or_no = len(file.items), not is_scored
            is_grouped = file.groups is not None
        else:
            loaded = self._loaded[task.name]
            items, is_yes_or_no = len(loaded.items), not loaded.metric.is_graded
            is_grouped = loaded.settings.group is not None
        return Asked(
            check=task.check.name,
            items=items,
            flip_rate=task.flip_rate,
            is_yes_or_no=is_yes_or_no,
            is_grouped=is_grouped,
            is_sequential=task.sequential,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaskedTask:
    """A probe in place of a task that cannot be put to this model."""

    check: str
    why: str

    @property
    def checks(self) -> tuple[str, ...]:
        return (self.check,)

    def work(self, tokenizer: TokenizerClient) -> NoReturn:
        raise MeasurementError(f"{self.check}: {self.why}")

    def read(self, pair: Pair) -> NoReturn:
        raise MeasurementError(f"{self.check}: {self.why}")


def _find_scorer(task: TaskSettings, file: ItemFile, known: Mapping[str, object]) -> Scorer:
    from qgate.measure.tasks.scorers import find_scorer

    where = f"{task.source}: tasks.{task.name}.score"
    if file.has_choices:
        raise ThresholdsError(
            f"{where}: got {file.name}, whose answers are chosen; expected items whose answers are"
            " generated. Remove score"
        )
    return find_scorer(str(task.score), where, known)


def _of_file(task: TaskSettings, file: ItemFile, scorer: Scorer | None) -> Task:
    from qgate.measure.tasks.grading import Grading
    from qgate.measure.tasks.task import Task

    return Task(
        check=task.check.name,
        file=file,
        grading=Grading(
            metric=task.metric or "exact",
            ignore_case=task.ignore_case,
            ignore_punctuation=task.ignore_punctuation,
            scorer=scorer,
        ),
        max_tokens=task.max_tokens,
        min_reference=task.min_reference,
        is_sequential=task.sequential,
    )


def _of_lm_eval(task: TaskSettings, loaded: LoadedTask) -> HarnessTask:
    from qgate.measure.tasks.lm_eval.probe import HarnessTask

    return HarnessTask(
        check=task.check.name,
        loaded=loaded,
        min_reference=task.min_reference,
        is_sequential=task.sequential,
    )


def _load(task: TaskSettings, reference: Artifact | None) -> LoadedTask:
    from qgate.measure.tasks.lm_eval.settings import HarnessSettings
    from qgate.measure.tasks.lm_eval.tasks import load_task

    if task.lm_eval is None:
        raise ValueError(f"{task.name}: got a task with a file; expected one of lm-eval")
    settings = HarnessSettings(
        name=task.lm_eval.task or task.name,
        where=f"{task.source}: tasks.{task.name}",
        include_path=task.lm_eval.include_path,
        data=task.lm_eval.data,
        num_fewshot=task.lm_eval.num_fewshot,
        group=task.lm_eval.group,
        max_samples=task.max_samples,
        max_tokens=task.max_tokens,
        metric=task.metric,
        chat=_chat(task, reference) if task.lm_eval.chat_template else None,
        runner=make_runner() if task.code_execution else None,
        is_offline=any(os.environ.get(name, "").upper() in _TRUE for name in _OFFLINE),
    )
    return load_task(settings)


def _chat(task: TaskSettings, reference: Artifact | None) -> Chat:
    from qgate.sandbox.chat import Chat

    found = chat_template_of(reference) if reference is not None else None
    if found is None:
        raise ThresholdsError(
            f"{task.source}: tasks.{task.name}: got chat_template: true, while"
            f" {reference.id if reference else 'no reference'} has none; expected a model that"
            " chats. Remove the key"
        )
    return Chat(template=found.text, bos_token=found.bos_token, eos_token=found.eos_token)
