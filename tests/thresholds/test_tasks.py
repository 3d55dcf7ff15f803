"""Tasks that a file names: what they say, and who inherits them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgate.measure.tasks.metrics import METRICS, SCORES
from qgate.records import SourceLine
from qgate.thresholds import LmEvalTask, TaskSettings
from qgate.thresholds.fields import fields_of
from qgate.thresholds.task_settings import FileTaskEntry
from tests.thresholds.team_files import OWN, SHIPPED, load

if TYPE_CHECKING:
    from pathlib import Path


SHIPPED_TASKS = [
    "everyday",
    "grammar",
    "stories",
    "classification",
    "next_sentence",
    "code",
    "drill",
]


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
    assert (gsm8k.file, gsm8k.lm_eval, gsm8k.max_samples) == (None, LmEvalTask(), 500)
    assert german.metric == "exact_match"
    assert german.lm_eval == LmEvalTask(
        task="mgsm_direct_de",
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
    assert fields_of(FileTaskEntry)["metric"].choices == (*METRICS, "code", *SCORES, "accuracy")


# Who inherits them


def test_users_tasks_follow_the_shipped_ones(team: Path) -> None:
    thresholds = load(team, f"version: 1\ntasks:\n{OWN}")
    assert names(thresholds.tasks) == [*SHIPPED_TASKS, "own"]


def test_without_inheritance_there_are_only_the_users_tasks(team: Path) -> None:
    thresholds = load(team, f"version: 1\ninherit: none\ntasks:\n{OWN}")
    assert names(thresholds.tasks) == ["own"]
    assert list(thresholds.limits_for("a", "Q8_0")) == ["accuracy.own"]


def test_rows_of_tasks_stand_between_divergence_and_edge_cases(team: Path) -> None:
    thresholds = load(team, f"version: 1\ntasks:\n{OWN}")
    rows = list(thresholds.limits_for("a", "Q8_0"))
    at = rows.index("accuracy.own")
    assert rows[at - 8 : at + 2] == [
        "divergence.same_top",
        *(f"accuracy.{name}" for name in SHIPPED_TASKS),
        "accuracy.own",
        "edge.long_input",
    ]


def test_off_drops_an_inherited_task_and_its_limit(team: Path) -> None:
    thresholds = load(team, "version: 1\ntasks: {code: off}\n")
    assert names(thresholds.tasks) == [name for name in SHIPPED_TASKS if name != "code"]
    assert "accuracy.code" not in thresholds.limits_for("a", "Q8_0")


def test_task_replaces_an_inherited_one_of_its_name_as_a_whole(team: Path) -> None:
    text = "version: 1\ntasks:\n  code: {file: own.jsonl, max_drop: 0.01}\n"
    thresholds = load(team, text)
    limit = thresholds.limits_for("a", "Q8_0")["accuracy.code"]
    assert names(thresholds.tasks) == SHIPPED_TASKS
    assert thresholds.tasks[SHIPPED_TASKS.index("code")].file == team / "own.jsonl"
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


def test_shipped_tasks_lie_beside_the_shipped_limits(tmp_path: Path) -> None:
    tasks = load(tmp_path, "version: 1\n").tasks
    assert [task.file for task in tasks] == [
        SHIPPED.parent / "tasks" / f"{task.name}.jsonl" for task in tasks
    ]
