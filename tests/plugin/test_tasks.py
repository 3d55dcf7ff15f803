"""A team's own tasks: items in files, rows of accuracy, limits on what may be lost."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.runtimes.base import LoadSettings, Prompt
from qgate.runtimes.fake.adapter import Fake
from qgate.thresholds import load_thresholds, shipped_path
from tests.conftest import Toy
from tests.plugin.conftest import LONG

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.plugin.conftest import Outcome, Project

ITEMS = 120
LONGEST_ANSWER = 6
"""Tokens, a character each."""
LETTERS = [chr(code) for code in range(33, 127)]


@pytest.fixture
def models(toys: Callable[..., Path]) -> Path:
    return toys(good=Toy(noise=0.001), bad=Toy(noise=0.5))


def reference(models: Path) -> Fake:
    """The reference in this process, to ask it what it knows."""
    model = Fake()
    path = str(models / "original.gguf")
    model.load(LoadSettings(path=path, window_tokens=64, threads=None))
    return model


def prompts() -> Iterator[str]:
    """Different ones; what is said next hangs on the last letter alone."""
    return (f"{first}{last}" for first in LETTERS for last in LETTERS)


def choice_items(model: Fake) -> list[dict[str, object]]:
    """Between what the model finds likeliest and what it finds less likely."""
    rng = np.random.default_rng(0)
    items: list[dict[str, object]] = []
    for prompt in list(prompts())[:ITEMS]:
        order = np.argsort(-model.logits(model.encode(prompt, begins=True), 0)[-1])
        right, wrong = (chr(64 + int(order[rank])) for rank in (0, rng.integers(1, 4)))
        items.append({"prompt": prompt, "choices": [wrong, right], "answer": right})
    return items


def generated_items(model: Fake) -> list[dict[str, object]]:
    """What the model goes on with, where that is something to read."""
    items: list[dict[str, object]] = []
    for prompt in prompts():
        asked = Prompt(ids=model.encode(prompt, begins=True), max_tokens=LONGEST_ANSWER)
        (answer,) = model.answer([asked], 1, lambda *_: None)
        first, *_ = [*model.decode(answer.ids).strip().splitlines(), ""]
        if first.strip():
            items.append({"prompt": prompt, "answer": first})
        if len(items) == ITEMS:
            return items
    raise AssertionError("the toy is silent")


def write_items(path: Path, items: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(item)}\n" for item in items))


OWN = f"""
version: 1
tasks:
  letters: {{file: items/letters.jsonl, max_drop: 0.08, flip_rate: 0.01}}
  texts: {{file: items/texts.jsonl, metric: exact, max_tokens: {LONGEST_ANSWER}, max_drop: 0.05,
          rule: alarm}}
  drill: off
"""


@pytest.fixture
def own(project: Project, models: Path) -> Path:
    """Models, and two tasks that their reference knows."""
    project.write("team/limits.yaml", OWN)
    items = project.directory / "team" / "items"
    items.mkdir()
    write_items(items / "letters.jsonl", choice_items(reference(models)))
    write_items(items / "texts.jsonl", generated_items(reference(models)))
    return models


LIMITS = "--qgate-thresholds=team/limits.yaml"


def test_what_is_lost_of_a_teams_own_tasks_fails_and_what_is_kept_passes(
    project: Project, own: Path
) -> None:
    seen = project.gate_all(own, LIMITS, "-m", "accuracy")

    assert seen.code == 1
    for row, line, kind, n in (
        ("accuracy.letters", 4, "95 % CI, look 2 of 4", 60),
        ("accuracy.texts", 5, "exact McNemar p = ", 30),
    ):
        assert seen.verdicts("good")[row] == "pass"
        assert seen.verdicts("bad")[row] == "fail"
        message = seen.message("bad", row)
        assert message.startswith(f"{row}: -")
        assert kind in message
        # enough of them to be certain
        assert f"n = {n} items; team/limits.yaml:{line})" in message
        assert message in seen.lines
        (found,) = [
            entry
            for artifact in seen.report()["artifacts"]
            for entry in artifact["checks"]
            if (artifact["id"], entry["name"]) == ("bad", row)
        ]
        details = found["details"]
        assert details["reference_share"] == 1.0
        assert found["value"] == pytest.approx(details["share"] - 1.0)
        assert details["sequential"] == {"look": n * 4 // ITEMS, "looks": 4, "of_items": ITEMS}
        assert details["lost"] - details["gained"] == round(-found["value"] * n)
        for worst in details["worst"]:
            assert worst["expected"] != worst["artifact"]


def rows(seen: Outcome, row: str) -> dict[str, dict[str, Any]]:
    """By artifact."""
    return {
        artifact["id"]: entry
        for artifact in seen.report()["artifacts"]
        for entry in artifact["checks"]
        if entry["name"] == row
    }


def test_a_task_in_stages_stops_where_its_limit_is_decided(project: Project, own: Path) -> None:
    project.write(
        "team/limits.yaml", OWN.replace("max_drop: 0.08", "max_drop: 0.08, sequential: true")
    )
    seen = project.gate_all(own, LIMITS, "-m", "accuracy", "-k", "letters")
    again = project.gate_all(own, LIMITS, "-m", "accuracy", "-k", "letters")

    said = f"qgate: accuracy.letters: certify a drop of 8 pp with up to {ITEMS} items: an undamaged"
    assert any(line.startswith(said) for line in seen.lines)
    found = rows(seen, "accuracy.letters")
    assert [found[name]["verdict"] for name in ("good", "bad")] == ["pass", "fail"]
    for name, n in (("good", 90), ("bad", 60)):
        look = n * 4 // ITEMS
        assert found[name]["n"] == n
        assert found[name]["details"]["sequential"] == {"look": look, "looks": 4, "of_items": ITEMS}
        assert f"(95 % CI, look {look} of 4, n = {n} items; " in found[name]["message"]
    for row in (*found.values(), *rows(again, "accuracy.letters").values()):
        row["details"].pop("cost", None)
    assert rows(again, "accuracy.letters") == found


def test_an_item_that_cannot_be_asked_voids_a_task_whatever_part_it_is_in(
    project: Project, own: Path
) -> None:
    items = [*choice_items(reference(own)), {"prompt": "x" * 2 * LONG, "choices": ["a", "b"]}]
    items[-1]["answer"] = "a"
    write_items(project.directory / "team" / "items" / "letters.jsonl", items)
    project.write(
        "team/limits.yaml", OWN.replace("max_drop: 0.08", "max_drop: 0.3, sequential: true")
    )
    seen = project.gate_all(own, LIMITS, "-m", "accuracy", "-k", "letters")
    for artifact in ("good", "bad"):
        assert seen.verdicts(artifact)["accuracy.letters"] == "error"
        assert f"item {ITEMS + 1} of letters.jsonl does not fit the context" in seen.message(
            artifact, "accuracy.letters"
        )


def test_a_task_that_says_so_is_asked_whole(project: Project, own: Path) -> None:
    whole = OWN.replace("max_drop: 0.08", "max_drop: 0.08, sequential: false")
    project.write("team/limits.yaml", whole)
    seen = project.gate_all(own, LIMITS, "-m", "accuracy", "-k", "letters and good")
    found = rows(seen, "accuracy.letters")["good"]
    assert (found["n"], found["verdict"]) == (ITEMS, "pass")
    assert "sequential" not in found["details"]


def test_a_task_that_is_switched_off_is_no_row(project: Project, own: Path) -> None:
    seen = project.gate_all(own, LIMITS, "-m", "accuracy", "--collect-only", "-q")

    tasks = [task.name for task in load_thresholds(None, project.directory).tasks]
    tasks.remove("drill")
    tasks += ["letters", "texts"]
    assert sorted(seen.node_ids()) == sorted(
        f"test_accuracy.py::test_accuracy[{artifact}-{task}]"
        for artifact in ("bad", "good")
        for task in tasks
    )


def test_a_teams_own_task_that_the_reference_does_not_know_is_an_error(
    project: Project, models: Path
) -> None:
    shutil.copy(shipped_path().parent / "tasks" / "drill.jsonl", project.directory)
    project.write("limits.yaml", "version: 1\ntasks: {mine: {file: drill.jsonl, max_drop: 0.05}}\n")
    seen = project.gate_all(
        models, "--qgate-thresholds=limits.yaml", "-m", "accuracy", "-k", "good"
    )

    assert seen.code == 1
    assert seen.verdicts("good")["accuracy.mine"] == "error"
    assert seen.verdicts("good")["accuracy.drill"] == "skipped"
    assert seen.message("good", "accuracy.mine") == (
        "good: accuracy.mine: the reference itself does not know drill.jsonl: got 0% of 50 right;"
        " expected at least 10%. Name tasks that the model is used for, and switch this one off"
        " (limits.yaml:2 sets its limit)"
    )


def test_an_item_that_does_not_fit_the_context_is_an_error_and_not_left_out(
    project: Project, own: Path
) -> None:
    items = project.directory / "team" / "items" / "letters.jsonl"
    long = {"id": "long", "prompt": "a" * 256, "choices": ["b", "c"], "answer": "b"}
    items.write_text(f"{items.read_text()}{json.dumps(long)}\n")
    seen = project.gate_all(own, LIMITS, "-k", "letters")

    assert seen.code == 1
    assert seen.verdicts("good")["accuracy.letters"] == "error"
    assert seen.message("good", "accuracy.letters") == (
        "good: accuracy.letters: item long of letters.jsonl does not fit the context:"
        " got 258 tokens; expected at most 256"
    )


def test_the_same_sample_of_a_long_file_is_asked_each_time(project: Project, own: Path) -> None:
    project.write(
        "team/limits.yaml", OWN.replace("letters.jsonl,", "letters.jsonl, max_samples: 80,")
    )
    first, second = (  # each asks, as it finds nothing in its store
        project.gate_all(own, LIMITS, "-k", "letters", f"--qgate-store={store}")
        for store in ("one", "two")
    )

    rows = [
        [row for row in entry["checks"] if row["name"] == "accuracy.letters"]
        for seen in (first, second)
        for entry in seen.report()["artifacts"]
    ]
    assert rows[:2] == rows[2:]
    for (row,) in rows:
        assert row["details"]["sequential"]["of_items"] == 80
        assert row["details"]["lost"] - row["details"]["gained"] == round(-row["value"] * row["n"])
