"""Every row of accuracy and edge cases has one probe, whatever the thresholds file names."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from qgate.checks import CHECKS
from qgate.errors import ThresholdsError
from qgate.measure.probes import find_probes
from qgate.measure.tasks.task import Task
from qgate.measure.tasks.task_list import TaskList
from qgate.planning.effort import cut
from qgate.thresholds import load_thresholds, shipped_path

if TYPE_CHECKING:
    from pathlib import Path

    from qgate.measure.probes import Probe
    from qgate.thresholds import Thresholds


def probes_of(thresholds: Thresholds) -> tuple[Probe, ...]:
    return find_probes(thresholds, TaskList(thresholds, None))


def thresholds_file(directory: Path, text: str) -> Path:
    path = directory / "limits.yaml"
    path.write_text(f"version: 1\n{text}")
    return path


def write_items(path: Path, count: int = 3) -> None:
    rows = [{"prompt": f"{number} + 1 =", "answer": f" {number + 1}"} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_each_row_has_exactly_one_probe(tmp_path: Path) -> None:
    probes = probes_of(load_thresholds(None, tmp_path))

    filled = [check for probe in probes for check in probe.checks]
    edge = {name for name, check in CHECKS.items() if check.area == "edge"}
    assert len(filled) == len(set(filled))
    assert set(filled) - {name for name in filled if name.startswith("accuracy.")} == edge


def test_what_ships_is_there(tmp_path: Path) -> None:
    tasks = [
        probe for probe in probes_of(load_thresholds(None, tmp_path)) if isinstance(probe, Task)
    ]

    assert {task.check for task in tasks} == {
        "accuracy.everyday",
        "accuracy.grammar",
        "accuracy.stories",
        "accuracy.classification",
        "accuracy.next_sentence",
        "accuracy.code",
        "accuracy.drill",
        "edge.math",
    }
    # two of them tell enough with fewer: their lines in the shipped file say how many
    fewer = {"accuracy.classification": 64, "accuracy.next_sentence": 48}
    asked = {task.check: len(task.file.items) for task in tasks}
    assert asked == {check: fewer.get(check, 200) for check in asked}
    shipped = shipped_path().parent / "tasks"
    for name in ("classification", "next_sentence"):
        assert len((shipped / f"{name}.jsonl").read_text().splitlines()) == 200


def test_a_task_is_as_the_thresholds_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_items(tmp_path / "sums.jsonl", 20)
    path = thresholds_file(
        tmp_path,
        "tasks:\n  sums: {file: sums.jsonl, max_drop: 0.1, metric: numeric, max_samples: 7,"
        " max_tokens: 9}\n  code: off\n",
    )

    tasks = {task.check: task for task in TaskList(load_thresholds(path, tmp_path), None).probes()}

    assert "accuracy.code" not in tasks
    sums = tasks["accuracy.sums"]
    assert (sums.grading.metric, sums.max_tokens, len(sums.file.items)) == ("numeric", 9, 7)


def test_a_shipped_task_that_the_user_writes_again_is_the_users(tmp_path: Path) -> None:
    write_items(tmp_path / "sums.jsonl")
    path = thresholds_file(tmp_path, "tasks:\n  code: {file: sums.jsonl, max_drop: 0.1}\n")

    limits = load_thresholds(path, tmp_path).limits_for("any", "Q8_0")

    assert not limits["accuracy.code"].source.is_shipped
    assert limits["accuracy.drill"].source.is_shipped
    assert limits["edge.math"].source.is_shipped


def test_a_wrong_item_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sums.jsonl").write_text('{"prompt": "1 + 1 =", "answer": " 2"}\n{"prompt": 3}\n')
    path = thresholds_file(tmp_path, "tasks:\n  sums: {file: sums.jsonl, max_drop: 0.1}\n")
    thresholds = load_thresholds(path, tmp_path)

    with pytest.raises(ThresholdsError, match=r"^sums\.jsonl:2: "):
        probes_of(thresholds)


def test_lengths_are_those_of_the_thresholds_file(tmp_path: Path) -> None:
    path = thresholds_file(tmp_path, "edge: {context_tokens: 512, answer_tokens: 20}\n")

    probes = {probe.checks[0]: probe for probe in probes_of(load_thresholds(path, tmp_path))}

    assert getattr(probes["edge.long_input"], "most_tokens", None) == 512
    assert getattr(probes["edge.repetition"], "answer_tokens", None) == 20


def test_a_seed_chooses_which_prompts_and_long_texts_are_asked(tmp_path: Path) -> None:
    seeds = [
        load_thresholds(thresholds_file(tmp_path, f"text: {{seed: {n}}}\n"), tmp_path)
        for n in (0, 1)
    ]
    first, second = (
        {probe.checks[0]: cut(probe, one.edge) for probe in probes_of(one)} for one in seeds
    )

    for check, prompts in (
        ("edge.repetition", "prompts"),
        ("edge.batch_invariance", "prompts"),
        ("edge.empty_prompt", "prompts"),
    ):
        asked, instead = (set(getattr(own[check], prompts)) for own in (first, second))
        assert len(asked) == len(instead) > len(asked & instead), check
    assert (first["edge.long_input"].seed, second["edge.long_input"].seed) == (0, 1)
