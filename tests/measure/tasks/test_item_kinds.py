"""Items of other kinds: code with tests, groups; and whether a task fits the items of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qgate.errors import ThresholdsError
from qgate.measure.tasks.items import read_items, read_task
from qgate.records import SourceLine
from qgate.thresholds import TaskSettings
from tests.measure.tasks.item_files import GOOD, read

if TYPE_CHECKING:
    from pathlib import Path


CODE = '{"prompt": "def one():\\n", "tests": ["assert one() == 1", "assert one() < 2"]}\n'


def test_code_has_tests_and_needs_no_answer(tmp_path: Path) -> None:
    path = tmp_path / "code.jsonl"
    path.write_text(CODE)
    (item,) = read_items(path, "code.jsonl", is_code=True).items
    assert (item.answer, item.tests) == ("", "assert one() == 1\nassert one() < 2")


def test_code_without_tests_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "code.jsonl"
    path.write_text(CODE + GOOD)
    with pytest.raises(ThresholdsError, match=r"code.jsonl:2: no tests: got the keys"):
        read_items(path, "code.jsonl", is_code=True)


def test_items_about_the_same_are_a_group(tmp_path: Path) -> None:
    rows = [
        '{"prompt": "a", "answer": "b", "group": "text 1"}\n',
        '{"prompt": "c", "answer": "d", "group": 7}\n',
        '{"prompt": "e", "answer": "f"}\n',
    ]
    groups = read(tmp_path, "".join(rows)).groups
    assert groups is not None
    assert groups[:2] == ("text 1", "7")
    assert len(set(groups)) == 3
    assert read(tmp_path, rows[2]).groups is None


@pytest.mark.parametrize(
    ("content", "said", "complaint"),
    [
        (GOOD, {"choices": True}, "got choices: true, while the items of own.jsonl have none;"),
        (GOOD, {"metric": "accuracy"}, "got metric: accuracy, while the items of own.jsonl have"),
        (
            '{"prompt": "Water is", "choices": [" wet", " dry"], "answer": " wet"}\n',
            {"metric": "numeric"},
            "got metric: numeric, while the items of own.jsonl have choices;",
        ),
    ],
)
def test_a_task_and_its_file_have_to_agree(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    said: dict[str, Any],
    complaint: str,
) -> None:
    (tmp_path / "own.jsonl").write_text(content)
    monkeypatch.chdir(tmp_path)
    source = SourceLine("team.yaml", 3)
    task = TaskSettings(name="own", file=tmp_path / "own.jsonl", source=source, **said)
    with pytest.raises(ThresholdsError) as caught:
        read_task(task)
    assert str(caught.value).startswith(f"team.yaml:3: tasks.own: {complaint}")
