"""A task that cannot be asked ends the run before anything is loaded, with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import Toy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.planning.conftest import Refuse

pytest.importorskip("lm_eval", reason="needs lm-eval")
GSM8K = '{"question": "2 + 2?", "answer": "It is 4.\\n#### 4"}\n'
TASKS = {
    "a chat without a template": (
        "gsm8k: {data: own.jsonl, chat_template: true, max_drop: 0.05, rule: alarm}",
        ("limits.yaml:3: tasks.gsm8k: got chat_template: true, while original has none;",),
    ),
    "a network that is not to be used": (
        "gsm8k: {max_drop: 0.05, rule: alarm}",
        ("limits.yaml:3: tasks.gsm8k: ", "data:"),
    ),
    "too few items to certify": (
        "gsm8k: {data: own.jsonl, num_fewshot: 0, max_drop: 0.02}",
        (
            "limits.yaml:3: accuracy.gsm8k: certify a drop of 2 pp with 40 items can hardly be"
            " decided: got a chance of ",
            "rule: auto or alarm",
        ),
    ),
}


@pytest.mark.parametrize(("task", "said"), TASKS.values(), ids=list(TASKS))
def test_what_is_wrong_with_a_task_of_lm_eval_is_said_in_one_line(
    project: Path,
    refuse: Refuse,
    toys: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    task: str,
    said: tuple[str, ...],
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (project / "limits.yaml").write_text(f"version: 1\ntasks:\n  {task}\n")
    rows = [GSM8K.replace("2 + 2", f"2 + {number}") for number in range(40)]
    (project / "own.jsonl").write_text("".join(rows))

    line = refuse(toys(one=Toy()))

    assert "\n" not in line
    for part in said:
        assert part in line, line
