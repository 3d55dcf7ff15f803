"""What may be written for a task: a file of items or a task of lm-eval, and its row's limit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, DirectoryPath, Field, FilePath, model_validator

from qgate.checks import accuracy_check
from qgate.records import SourceLine
from qgate.thresholds.fields import Expected
from qgate.thresholds.limit_forms import TaskLimit
from qgate.thresholds.settings import Count, Section

if TYPE_CHECKING:
    from qgate.checks import Check

TASK_NAME = "[a-z][a-z0-9_]*"
"""What stands after `accuracy.` in the name of a task's row."""
_ITEMS = (".jsonl",)
_DATA = (".jsonl", ".jsonl.gz", ".json", ".tsv", ".csv", ".parquet")


def _of_items(path: Path) -> Path:
    if not path.name.endswith(_ITEMS):
        raise ValueError
    return path


def _of_data(path: Path) -> Path:
    if not path.name.endswith(_DATA):
        raise ValueError
    return path


class TaskKeys(Section):
    """Of every task."""

    max_samples: Count | None = Field(
        default=None, ge=2, description="How many items at most, a random sample; absent: all."
    )
    max_tokens: Count | None = Field(
        default=None,
        ge=1,
        description="Longest generated answer; absent: as the task of lm-eval says; of a file a "
        "little longer than the expected one, 256 where the metric is numeric, 512 where it is "
        "code.",
    )
    code_execution: Literal["sandbox"] | None = Field(
        default=None,
        description="sandbox: generated code is run, in a child without network, with its own "
        "directory and limits. Without it a task that runs code is refused.",
    )
    flip_rate: float | None = Field(
        default=None,
        gt=0.0,
        lt=1.0,
        description="Share of answers that change without damage, by which it is said beforehand "
        "whether a limit can be certified with so few items; absent: 0.06.",
    )
    sequential: bool = Field(
        default=True,
        description="true: items are asked in up to four parts, in random order, until the limit "
        "is decided. false: all at once.",
    )
    min_reference: float | None = Field(
        default=None,
        ge=0.0,
        lt=1.0,
        description="Share of right answers that the reference itself must reach, for else no "
        "damage would be seen; absent: 0.1 above chance.",
    )


class FileKeys(Section):
    """Of a task with a file."""

    choices: bool = Field(
        default=False, description="true: refuses a file of which the items have no choices."
    )
    ignore_case: bool = Field(
        default=False, description="For exact: letters are equal whatever their case."
    )
    ignore_punctuation: bool = Field(
        default=False, description="For exact: punctuation does not count."
    )
    score: Annotated[
        str | None, Expected("module:function, or the name of an installed scorer")
    ] = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_][\w.]*)?$",
        description="In place of a metric: a Python function of your own, called as score(answer, "
        "expected), that returns True or False or a number from 0 to 1; module:function, or a "
        "name in qgate_scorers of conftest.py or of the entry points qgate.scorers.",
    )


class LmEvalTask(Section):
    """Of a task of lm-evaluation-harness."""

    task: Annotated[str | None, Expected("the name of a task of lm-eval")] = Field(
        default=None,
        pattern=r"^[^\s,]+$",
        description="The task's name in lm-eval; absent: the name of this entry.",
    )
    include_path: Annotated[
        DirectoryPath | None, Expected("a directory, relative to this file")
    ] = Field(
        default=None,
        description="A directory with task files of your own, relative to this file, as lm-eval's "
        "--include_path.",
    )
    data: Annotated[
        FilePath | None,
        BeforeValidator(_of_data),
        Expected(f"a path ending in {', '.join(_DATA[:-1])} or {_DATA[-1]}"),
    ] = Field(
        default=None,
        description="A file that takes the place of the task's dataset, relative to this file.",
        json_schema_extra={"pattern": r"\.(jsonl|jsonl\.gz|json|tsv|csv|parquet)$"},
    )
    num_fewshot: int | None = Field(
        default=None,
        ge=0,
        le=1000,
        description="Solved examples before each question; absent: as the task says.",
    )
    group: Annotated[str | None, Expected("the name of a field")] = Field(
        default=None,
        pattern=r"^\S+$",
        description="The field of its docs that says what several of them are about, e.g. their "
        "text: they resemble each other, and intervals take that into account.",
    )
    chat_template: bool = Field(
        default=False, description="true: questions are put into the model's chat template."
    )


class FileTaskEntry(TaskLimit, TaskKeys, FileKeys):
    """What is written for a task with a file."""

    file: Annotated[
        FilePath,
        BeforeValidator(_of_items),
        Expected("a path ending in .jsonl, relative to this file"),
    ] = Field(
        description="Its items as JSON lines, a path relative to this file.",
        json_schema_extra={"pattern": r"\.jsonl$"},
    )
    metric: Literal["exact", "numeric", "code", "rouge_l", "chrf", "accuracy"] | None = Field(
        default=None,
        description="When a generated answer is right. exact (default): its lines are those "
        "expected. numeric: its last number is. code: it passes the item's unit tests. rouge_l, "
        "chrf: a score from 0 to 1 for how near it comes. accuracy: answers are chosen (default "
        "there).",
    )

    @model_validator(mode="after")
    def _of_one_metric(self) -> FileTaskEntry:
        if self.metric == "code" and self.code_execution is None:
            raise ValueError(
                "metric code runs what the model wrote: got no code_execution; expected "
                "code_execution: sandbox, which allows it."
            )
        if self.score is not None and self.metric is not None:
            raise ValueError(f"got score and metric {self.metric}; expected one of them.")
        for key in ("ignore_case", "ignore_punctuation"):
            if getattr(self, key) and self.metric not in (None, "exact"):
                raise ValueError(f"got {key} with metric {self.metric}; expected it with exact.")
        return self


class LmEvalTaskEntry(TaskLimit, TaskKeys, LmEvalTask):
    """What is written for a task of lm-eval."""

    metric: Annotated[
        str | None, Expected("the name of a metric such as acc_norm, or metric,filter")
    ] = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_@]+(,[A-Za-z0-9_-]+)?$",
        description="Which of the task's metrics, and of its filters where there are several, as "
        "in exact_match,flexible-extract; absent: its first of each.",
    )


class TaskSettings(TaskKeys, FileKeys):
    """Items that reference and artifact answer; they make the row `accuracy.<name>`."""

    name: str
    file: Path | None = None
    """JSON lines; it was there when the thresholds were read. None: a task of lm-eval."""
    lm_eval: LmEvalTask | None = None
    """None where there is a file."""
    metric: str | None = None
    """When a generated answer is right, or how good it is; None: the default of the items."""
    source: SourceLine
    """Where somebody wrote it."""

    @property
    def check(self) -> Check:
        """Its row."""
        return accuracy_check(self.name)
