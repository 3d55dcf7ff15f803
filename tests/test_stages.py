"""A task is asked in parts until its limit is decided, and its row is of what was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from qgate import stats
from qgate.errors import MeasurementError
from qgate.gate import judge_row
from qgate.measure.grading import Grading
from qgate.measure.items import read_items
from qgate.measure.tasks import Task
from qgate.measure.work import Pair, Work
from qgate.records import Limit, SourceLine, Verdict
from qgate.stages import Looked, ask_in_stages, is_staged
from tests.measure.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from qgate.stages import Staged

CHECK = "accuracy.sums"
ITEMS = 1_200


def certified(drop: float = 0.02, level: float = 0.95) -> Limit:
    source = SourceLine("team.yaml", 3)
    return Limit(check=CHECK, rule="certify", min=-drop, level=level, source=source)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """1,200 sums."""
    rows = [{"prompt": f"{number} + 1 =", "answer": f"{number + 1}"} for number in range(ITEMS)]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    file = read_items(path, "sums.jsonl")
    return Task(check=CHECK, file=file, grading=Grading(metric="numeric"), is_sequential=True)


class Sides:
    """An original that knows every sum, and an artifact that has forgotten some."""

    def __init__(self, forgotten: Collection[str], answer: str = "?") -> None:
        self._forgotten, self._answer = forgotten, answer
        self.parts: list[tuple[str, list[str]]] = []
        """The labels that were asked for, and the ids of their items."""

    def ask(self, part: Staged, label: str) -> Pair:
        assert isinstance(part, Task)
        items = part.file.items
        self.parts.append((label, [item.id for item in items]))
        own = [self._answer if item.id in self._forgotten else item.answer for item in items]
        artifact = make_outcome(make_answers(*own))
        reference = make_outcome(make_answers(*(item.answer for item in items)))
        return Pair(work=Work(), reference=reference, artifact=artifact)


def every(step: int) -> list[str]:
    """Ids of one item in so many: lines of the file, from 1."""
    return [str(number) for number in range(1, ITEMS + 1, step)]


def test_an_artifact_that_lost_nothing_is_asked_half(task: Task) -> None:
    sides = Sides([])
    found = ask_in_stages(task, certified(), sides.ask)
    record = judge_row(CHECK, certified(), found)

    assert record.verdict is Verdict.PASS
    assert record.estimate is not None
    assert record.estimate.n == 600
    assert record.details["sequential"] == {"look": 2, "looks": 4, "of_items": ITEMS}
    assert [label for label, _ in sides.parts] == ["part 1 of 4", "part 2 of 4"]
    assert "(95 % CI, look 2 of 4, n = 600 items; team.yaml:3)" in record.message


def test_one_that_lost_a_quarter_fails_at_the_first_look(task: Task) -> None:
    sides = Sides(every(4))
    record = judge_row(CHECK, certified(), ask_in_stages(task, certified(), sides.ask))
    assert record.verdict is Verdict.FAIL
    assert record.estimate is not None
    assert record.estimate.n == 300
    assert len(record.details["worst"]) == 5


def test_one_at_the_limit_is_asked_everything_and_nothing_twice(task: Task) -> None:
    sides = Sides(every(50))
    record = judge_row(CHECK, certified(), ask_in_stages(task, certified(), sides.ask))
    asked = [name for _, names in sides.parts for name in names]
    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.estimate is not None
    assert (record.estimate.n, record.estimate.value) == (ITEMS, -0.02)
    assert sorted(asked, key=int) == [item.id for item in task.file.items]


def test_the_order_is_random_and_the_same_for_every_artifact(task: Task) -> None:
    """A file that is sorted by difficulty would decide by its easy half."""
    one, other = Sides([]), Sides(every(50))
    ask_in_stages(task, certified(), one.ask)
    ask_in_stages(task, certified(0.03, level=0.9), other.ask)
    first = [int(name) for name in one.parts[0][1]]
    assert first != sorted(first)
    assert np.mean(first) == pytest.approx(ITEMS / 2, abs=3 * ITEMS / np.sqrt(12 * 300))
    assert one.parts[:1] == other.parts[:1]


def test_the_interval_is_that_of_the_plan_and_no_narrower(task: Task) -> None:
    found = ask_in_stages(task, certified(), Sides([]).ask)
    estimate = found.estimate(CHECK, 0.95, {})
    plain = stats.paired_difference(found.answers.artifact, found.answers.reference, level=0.95)
    assert estimate.low < plain.low
    assert estimate.p_value is None


def test_what_is_reported_is_of_the_items_that_were_asked(task: Task) -> None:
    sides = Sides(every(100))
    found = ask_in_stages(task, certified(0.05), sides.ask)
    names = [name for _, part in sides.parts for name in part]
    own = task.take([int(name) - 1 for name in names])
    details = found.details(CHECK)
    assert len(names) < ITEMS
    assert details["items"] == own.file.digest != task.file.digest
    assert details["lost"] == len({*names} & {*every(100)})
    assert all(int(one["prompt"].split()[0]) % 100 == 0 for one in details["worst"])


def test_another_level_than_that_of_the_plan_is_no_estimate_of_the_limit(task: Task) -> None:
    found = ask_in_stages(task, certified(level=0.9), Sides([]).ask)
    with pytest.raises(MeasurementError, match=r"got an interval at level 0\.9; expected 0\.95"):
        judge_row(CHECK, certified(), found)


@pytest.mark.parametrize("answer", ["?", "1234"], ids=["none or all", "some"])
def test_scores_are_not_asked_in_stages(task: Task, answer: str) -> None:
    """Not even while they look as if there were only right and wrong ones."""
    scores = Task(check=CHECK, file=task.file, grading=Grading(metric="chrf"), is_sequential=True)
    with pytest.raises(MeasurementError) as caught:
        ask_in_stages(scores, certified(), Sides(every(4), answer).ask)
    assert str(caught.value) == (
        "accuracy.sums: sequential: got scores; expected answers that are right or wrong."
        " Leave sequential out"
    )


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (certified(), True),
        (Limit(check=CHECK, rule="alarm", min=-0.02, source=SourceLine("t", 1)), False),
    ],
)
def test_only_a_certified_limit_is_decided_in_stages(
    task: Task, limit: Limit, expected: bool
) -> None:
    assert is_staged(task, limit) is expected
    assert not is_staged(Task(check=CHECK, file=task.file), certified())


def by_chance(task: Task, rng: np.random.Generator, lost: float) -> Looked:
    forgotten = {item.id for item in task.file.items if rng.random() < lost}
    return ask_in_stages(task, certified(), Sides(forgotten).ask)


@pytest.mark.slow
def test_peeking_certifies_what_lost_the_margin_no_more_often_than_stated(task: Task) -> None:
    """400 artifacts that truly lost 2 points, through the whole of it: at most 2.5 % may pass."""
    rng = np.random.default_rng(20_261_126)
    judge: Callable[[Looked], Verdict] = lambda found: judge_row(CHECK, certified(), found).verdict  # noqa: E731
    passed = sum(judge(by_chance(task, rng, 0.02)) is Verdict.PASS for _ in range(400))
    assert passed / 400 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 400)
