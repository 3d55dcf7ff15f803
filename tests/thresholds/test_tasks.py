"""Tasks that a file names: what they say, who inherits them, and which are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from qgate.errors import ThresholdsError
from qgate.measure.answers import METRICS, SCORES
from qgate.records import SourceLine
from qgate.thresholds import LmEvalTask, TaskSettings
from qgate.thresholds.scalars import Word
from qgate.thresholds.task_grammar import FILE_TASK
from tests.thresholds.loading import CHECKS, SHIPPED, load

if TYPE_CHECKING:
    from pathlib import Path

OWN = "  own: {file: own.jsonl, max_drop: 0.02}\n"
DROP = "expected a number >= 0.0 and < 1.0 (0.02 is 2 percentage points)."
PATH = "expected a path ending in .jsonl, relative to this file."
ALL_KEYS = (
    "file, metric, choices, ignore_case, ignore_punctuation, max_samples, max_tokens, "
    "code_execution, flip_rate, sequential, min_reference, task, include_path, data, num_fewshot, "
    "group, chat_template, max_drop, rule, level"
)


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A team's directory, with a file of items in it."""
    (tmp_path / "own.jsonl").write_text('{"prompt": "2 + 2 =", "answer": " 4"}\n')
    return tmp_path


def names(tasks: tuple[TaskSettings, ...]) -> list[str]:
    return [task.name for task in tasks]


# What a task says


def test_task_asks_its_file_and_makes_a_row_for_every_artifact(team: Path) -> None:
    thresholds = load(
        team,
        "version: 1\ninherit: none\ntasks:\n  own: {file: own.jsonl, metric: numeric, "
        "max_drop: 0.02, rule: alarm, level: 0.9, max_samples: 50, max_tokens: 8}\n",
    )
    source = SourceLine("team.yaml", 4)
    assert thresholds.tasks == (
        TaskSettings(
            name="own",
            file=team / "own.jsonl",
            metric="numeric",
            max_samples=50,
            max_tokens=8,
            source=source,
        ),
    )
    limit = thresholds.limits_for("a", "Q4_K_M")["accuracy.own"]
    assert (limit.min, limit.max, limit.rule, limit.level) == (-0.02, None, "alarm", 0.9)
    assert (limit.check, limit.source) == ("accuracy.own", source)


def test_task_that_says_no_more_is_certified_exact_and_asked_whole(team: Path) -> None:
    thresholds = load(team, f"version: 1\ntasks:\n{OWN}")
    task, limit = thresholds.tasks[-1], thresholds.limits_for("a", "Q8_0")["accuracy.own"]
    assert (task.metric, task.max_samples, task.max_tokens) == (None, None, None)
    assert (limit.min, limit.rule, limit.level) == (-0.02, "certify", 0.95)


def test_task_without_a_file_is_lm_evals_by_its_name(team: Path) -> None:
    (team / "mine").mkdir()
    (team / "mgsm.tsv").write_text("Wie viel ist 2 + 2?\t4\n")
    text = (
        "version: 1\ninherit: none\ntasks:\n  gsm8k: {max_samples: 500, max_drop: 0.02}\n"
        "  german: {task: mgsm_direct_de, data: mgsm.tsv, include_path: mine, num_fewshot: 0,\n"
        "    group: text, chat_template: true, metric: exact_match, max_drop: 0.05, rule: auto}\n"
    )
    gsm8k, german = load(team, text).tasks
    assert (gsm8k.file, gsm8k.lm_eval, gsm8k.max_samples) == (None, LmEvalTask(name="gsm8k"), 500)
    assert german.metric == "exact_match"
    assert german.lm_eval == LmEvalTask(
        name="mgsm_direct_de",
        include_path=team / "mine",
        data=team / "mgsm.tsv",
        num_fewshot=0,
        group="text",
        chat_template=True,
    )


def test_file_is_relative_to_the_one_that_names_it(team: Path) -> None:
    (team / "gates").mkdir()
    text = "version: 1\ntasks: {own: {file: ../own.jsonl, max_drop: 0}}\n"
    task = load(team, text, name="gates/team.yaml").tasks[-1]
    assert task.file == team / "gates" / ".." / "own.jsonl"


def test_metrics_are_those_that_answers_can_be_judged_by() -> None:
    metric = FILE_TASK["metric"]
    assert isinstance(metric, Word)
    assert metric.choices == (*METRICS, "code", *SCORES, "accuracy")


# Who inherits them


def test_users_tasks_follow_the_shipped_ones(team: Path) -> None:
    thresholds = load(team, f"version: 1\ntasks:\n{OWN}")
    assert names(thresholds.tasks) == ["classification", "next_sentence", "code", "drill", "own"]


def test_without_inheritance_there_are_only_the_users_tasks(team: Path) -> None:
    thresholds = load(team, f"version: 1\ninherit: none\ntasks:\n{OWN}")
    assert names(thresholds.tasks) == ["own"]
    assert list(thresholds.limits_for("a", "Q8_0")) == ["accuracy.own"]


def test_rows_of_tasks_stand_between_divergence_and_edge_cases(team: Path) -> None:
    thresholds = load(team, f"version: 1\ntasks:\n{OWN}")
    rows = list(thresholds.limits_for("a", "Q8_0"))
    at = rows.index("accuracy.own")
    assert rows[at - 5 : at + 2] == [
        "divergence.same_top",
        "accuracy.classification",
        "accuracy.next_sentence",
        "accuracy.code",
        "accuracy.drill",
        "accuracy.own",
        "edge.long_input",
    ]


def test_off_drops_an_inherited_task_and_its_limit(team: Path) -> None:
    thresholds = load(team, "version: 1\ntasks: {code: off}\n")
    assert names(thresholds.tasks) == ["classification", "next_sentence", "drill"]
    assert "accuracy.code" not in thresholds.limits_for("a", "Q8_0")


def test_task_replaces_an_inherited_one_of_its_name_as_a_whole(team: Path) -> None:
    text = "version: 1\ntasks:\n  code: {file: own.jsonl, max_drop: 0.01}\n"
    thresholds = load(team, text)
    limit = thresholds.limits_for("a", "Q8_0")["accuracy.code"]
    assert names(thresholds.tasks) == ["classification", "next_sentence", "code", "drill"]
    assert thresholds.tasks[2].file == team / "own.jsonl"
    assert (limit.min, limit.rule, str(limit.source)) == (-0.01, "certify", "team.yaml:3")


def test_limits_schemes_and_artifacts_override_what_the_task_says(team: Path) -> None:
    thresholds = load(
        team,
        f"version: 1\ntasks:\n{OWN}"
        "limits:\n  accuracy.own: {max_drop: 0.03, rule: alarm}\n"
        "  accuracy.drill: {max_drop: 0.07}\n"
        "schemes:\n  q2_k: {accuracy.own: {max_drop: 0.2}}\n"
        "artifacts:\n  '*-draft': {accuracy.own: off}\n",
    )
    found = {
        name: thresholds.limits_for(name, scheme).get("accuracy.own")
        for name, scheme in (("a", "Q8_0"), ("b", "Q2_K"), ("b-draft", "Q2_K"))
    }
    assert {name: limit and limit.min for name, limit in found.items()} == {
        "a": -0.03,
        "b": -0.2,
        "b-draft": None,
    }
    drill = thresholds.limits_for("a", "Q8_0")["accuracy.drill"]
    assert (drill.min, drill.rule, str(drill.source)) == (-0.07, "certify", "team.yaml:6")


def test_limit_that_is_off_leaves_the_task(team: Path) -> None:
    thresholds = load(team, "version: 1\nlimits: {accuracy.code: off}\n")
    assert "code" in names(thresholds.tasks)
    assert "accuracy.code" not in thresholds.limits_for("a", "Q8_0")


# What is refused

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
        "own.ignore_case: got metric numeric; expected exact, which knows it.",
    ),
    (
        "own: {file: own.jsonl}",
        f"own: no max_drop; {DROP}",
    ),
    (
        "own: {file: own.jsonl, max_drop: 3}",
        "own.max_drop: got 3; expected a number >= 0.0 and < 1.0 (0.02 is 2 percentage points).",
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
        "own: {file: own.jsonl, max_drop: 0, max_samples: 1}",
        "own.max_samples: got 1; expected a whole number >= 2 and <= 2147483647.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, max_tokens: 0}",
        "own.max_tokens: got 0; expected a whole number >= 1 and <= 2147483647.",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, rule: alert}",
        "own.rule: got 'alert'; expected certify or alarm or auto. Did you mean 'alarm'?",
    ),
    (
        "own: {file: own.jsonl, max_drop: 0, rule: alarm, sequential: true}",
        "own: got sequential with rule: alarm; expected rule: certify or auto. An alarm's p-value "
        "counts one look at all items.",
    ),
    (
        "own: own.jsonl",
        "own: got 'own.jsonl'; expected a mapping such as {file: ..., max_drop: ...}, or off to "
        "drop an inherited task.",
    ),
    ("own: [own.jsonl]", "own: got a list; expected a mapping."),
    (
        "own:",
        "own: got nothing; expected a mapping such as {file: ..., max_drop: ...}, or off to drop "
        "an inherited task.",
    ),
    (
        "cod: off",
        "cod: got off; expected an inherited task. Did you mean 'code'? "
        "Inherited: classification, next_sentence, code, drill.",
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


def test_shipped_tasks_lie_beside_the_shipped_limits(tmp_path: Path) -> None:
    tasks = load(tmp_path, "version: 1\n").tasks
    assert [task.file for task in tasks] == [
        SHIPPED.parent / "tasks" / f"{task.name}.jsonl" for task in tasks
    ]
