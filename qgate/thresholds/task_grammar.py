"""What may be written for a task: a file of items or a task of lm-eval, and its row's limit."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from qgate.checks import accuracy_check
from qgate.thresholds.limit_forms import limit_keys
from qgate.thresholds.values import LARGEST_WHOLE, Flag, Leaf, Number, Word

if TYPE_CHECKING:
    from collections.abc import Mapping

TASK_NAME = "[a-z][a-z0-9_]*"
"""What stands after `accuracy.` in the name of a task's row."""

_OF_BOTH: Mapping[str, Leaf] = MappingProxyType(
    {
        "max_samples": Number(
            help="How many items at most, a random sample; absent: all.",
            whole=True,
            at_least=2,
            at_most=LARGEST_WHOLE,
        ),
        "max_tokens": Number(
            help="Longest generated answer; absent: as the task of lm-eval says; of a file a "
            "little longer than the expected one, 256 where the metric is numeric, 512 where it is "
            "code.",
            whole=True,
            at_least=1,
            at_most=LARGEST_WHOLE,
        ),
        "code_execution": Word(
            help="sandbox: generated code is run, in a child without network, with its own "
            "directory and limits. Without it a task that runs code is refused.",
            choices=("sandbox",),
        ),
        "flip_rate": Number(
            help="Share of answers that change without damage, by which it is said beforehand "
            "whether a limit can be certified with so few items; absent: 0.06.",
            above=0.0,
            below=1.0,
        ),
        "sequential": Flag(
            help="true (also when absent): items are asked in up to four parts, in random order, "
            "until the limit is decided. false: all at once.",
        ),
        "min_reference": Number(
            help="Share of right answers that the original itself must reach, for else no damage "
            "would be seen; absent: 0.1 above chance.",
            at_least=0.0,
            below=1.0,
        ),
    }
)

FILE_TASK: Mapping[str, Leaf] = MappingProxyType(
    {
        "file": Word(
            help="Its items as JSON lines, a path relative to this file.",
            pattern=r".+\.jsonl",
            constraint="a path ending in .jsonl, relative to this file",
        ),
        "metric": Word(
            help="When a generated answer is right. exact (default): its lines are those expected. "
            "numeric: its last number is. code: it passes the item's unit tests. rouge_l, chrf: a "
            "score from 0 to 1 for how near it comes. accuracy: answers are chosen (default "
            "there).",
            choices=("exact", "numeric", "code", "rouge_l", "chrf", "accuracy"),
        ),
        "choices": Flag(help="true: refuses a file of which the items have no choices."),
        "ignore_case": Flag(help="For exact: letters are equal whatever their case."),
        "ignore_punctuation": Flag(help="For exact: punctuation does not count."),
        **_OF_BOTH,
    }
)

LM_EVAL_TASK: Mapping[str, Leaf] = MappingProxyType(
    {
        "task": Word(
            help="The task's name in lm-eval; absent: the name of this entry.",
            pattern=r"[^\s,]+",
            constraint="the name of a task of lm-eval",
        ),
        "include_path": Word(
            help="A directory with task files of your own, relative to this file, as lm-eval's "
            "--include_path."
        ),
        "data": Word(
            help="A file that takes the place of the task's dataset, relative to this file.",
            pattern=r".+\.(jsonl|jsonl\.gz|json|tsv|csv|parquet)",
            constraint="a path ending in .jsonl, .jsonl.gz, .json, .tsv, .csv or .parquet",
        ),
        "num_fewshot": Number(
            help="Solved examples before each question; absent: as the task says.",
            whole=True,
            at_least=0,
            at_most=1000,
        ),
        "group": Word(
            help="The field of its docs that says what several of them are about, e.g. their text: "
            "they resemble each other, and intervals take that into account.",
            pattern=r"\S+",
            constraint="the name of a field",
        ),
        "chat_template": Flag(help="true: questions are put into the model's chat template."),
        "metric": Word(
            help="Which of the task's metrics, and of its filters where there are several, as in "
            "exact_match,flexible-extract; absent: its first of each.",
            pattern=r"[A-Za-z0-9_@]+(,[A-Za-z0-9_-]+)?",
            constraint="the name of a metric such as acc_norm, or metric,filter",
        ),
        **_OF_BOTH,
    }
)


def limit_of_task() -> Mapping[str, Leaf]:
    """The keys of the limit that a task's entry sets on its row."""
    keys = limit_keys(accuracy_check("task"))
    return {key: leaf for key, leaf in keys.items() if key != "unit"}
