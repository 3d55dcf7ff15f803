"""Tasks with a mistake are refused: in one line, with its place and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from tests.thresholds.team_files import CHECKS, OWN, load

if TYPE_CHECKING:
    from pathlib import Path

DROP = "expected a number >= 0.0 and < 1.0 (0.02 is 2 percentage points)."
PATH = "expected a path ending in .jsonl, relative to this file."
ALL_KEYS = (
    "choices, ignore_case, ignore_punctuation, score, max_samples, max_tokens, code_execution, "
    "flip_rate, sequential, min_reference, max_drop, rule, level, file, metric, task, "
    "include_path, data, num_fewshot, group, chat_template"
)


BAD_TASKS = [
    ("own: {file: gone.jsonl, max_drop: 0}", f"own.file: no such file: got 'gone.jsonl'; {PATH}"),
    ("own: {file: own.json, max_drop: 0}", f"own.file: got 'own.json'; {PATH}"),
    ("own: {file: , max_drop: 0}", f"own.file: got nothing; {PATH}"),
    ("own: {}", f"own: no max_drop; {DROP}"),
    (
        "own: {max_drop: 0, choices: true}",
        "own: got choices for a task of lm-eval; expected it for one with a file alone.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, num_fewshot: 5}",
        "own: got num_fewshot for one with a file; expected it for a task of lm-eval alone.",
    ),
    (
        "gsm8k: {max_drop: 0, data: gone.jsonl}",
        "gsm8k.data: no such file: got 'gone.jsonl'; expected a path ending in .jsonl, .jsonl.gz, "
        ".json, .tsv, .csv or .parquet.",
    ),
    (
        "gsm8k: {max_drop: 0, include_path: gone}",
        "gsm8k.include_path: no such directory: got 'gone'; expected a directory, relative to "
        "this file.",
    ),
    (
        "gsm8k: {max_drop: 0, chat_template: yes}",
        "gsm8k.chat_template: got 'yes'; expected true or false.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, metric: code}",
        "own: metric code runs what the model wrote: got no code_execution; expected "
        "code_execution: sandbox, which allows it.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, metric: code, code_execution: yes}",
        "own.code_execution: got 'yes'; expected sandbox.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, metric: numeric, ignore_case: true}",
        "own: got ignore_case with metric numeric; expected it with exact.",
    ),
    (
        "own: {file: own.jsonl, min: -0.02}",
        "own: got min; expected max_drop, without a sign. Write max_drop: 0.02 where it may drop "
        "by 2 percentage points.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, metric: numerical}",
        "own.metric: got 'numerical'; expected exact or numeric or code or rouge_l or chrf or "
        "accuracy. Did you mean 'numeric'?",
    ),
    (
        "own: own.jsonl",
        "own: got 'own.jsonl'; expected a mapping such as {file: ..., max_drop: ...}, or off to "
        "drop an inherited task.",
    ),
    (
        "cod: off",
        "cod: got off; expected an inherited task. Did you mean 'code'? "
        "Inherited: everyday, grammar, stories, classification, next_sentence, code, drill.",
    ),
    (
        "My-Task: {file: own.jsonl, max_drop: 0}",
        "My-Task: got 'My-Task' as a name; expected a word of a-z, 0-9 and _ such as "
        "next_sentence.",
    ),
]


@pytest.mark.parametrize(("written", "message"), BAD_TASKS, ids=range(len(BAD_TASKS)))
def test_wrong_task_is_refused_with_line_and_remedy(team: Path, written: str, message: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(team, f"version: 1\ntasks:\n  {written}\n")
    assert str(refusal.value) == f"team.yaml:3: tasks.{message}"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "tasks:\n  own: {fil: own.jsonl, max_drop: 0}",
            f"3: unknown key 'fil' in tasks.own. Did you mean 'file'? Valid: {ALL_KEYS}.",
        ),
        (
            "tasks:\n  own:\n    max_drop: 0\n    file: gone.jsonl",
            f"5: tasks.own.file: no such file: got 'gone.jsonl'; {PATH}",
        ),
        (
            f"tasks:\n{OWN}{OWN}",
            "4: duplicate key 'own' in tasks, first on line 3. Remove one.",
        ),
        ("tasks: [own]", "2: tasks: got a list; expected a mapping."),
        (
            "inherit: none\ntasks: {code: off}",
            "3: tasks.code: got off; expected an inherited task. Inherited: none.",
        ),
        (
            "limits: {accuracy.cod: {max_drop: 0}}",
            "2: unknown check 'accuracy.cod' in limits. Did you mean 'accuracy.code'? "
            f"Valid: {CHECKS}.",
        ),
        (
            f"tasks:\n  code: off\n{OWN}limits: {{accuracy.code: off}}",
            "5: unknown check 'accuracy.code' in limits. Did you mean 'accuracy.own'? Valid: "
            f"{CHECKS.replace('accuracy.code, accuracy.drill', 'accuracy.drill, accuracy.own')}.",
        ),
    ],
)
def test_wrong_section_is_refused_with_line_and_remedy(team: Path, body: str, message: str) -> None:
    with pytest.raises(ThresholdsError) as refusal:
        load(team, f"version: 1\n{body}\n")
    assert str(refusal.value) == f"team.yaml:{message}"
