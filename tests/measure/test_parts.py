"""A task is asked in parts until its limit is decided, and its row is of what was asked."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from qgate.errors import NotApplicable
from qgate.gate.row import judge_row
from qgate.measure.looks import InterimResult, Rows
from qgate.measure.parts import ask_in_parts, join_outcomes, join_works
from qgate.measure.tasks.grading import Grading
from qgate.measure.tasks.items import read_items
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.task import Task
from qgate.records import Estimate, Limit, SourceLine, Verdict
from qgate.runtimes.base import Prompt, Span
from qgate.runtimes.messages import Batch
from qgate.runtimes.requests import Outcome, ScoredRange, Work
from tests.support.outcomes import make_answers, make_outcome

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

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
    return Task(check=CHECK, file=file, grading=Grading(metric="numeric"))


class Answering:
    """A reference that knows every sum, or few of them, and an artifact that has forgotten some."""

    def __init__(
        self, forgotten: Collection[str], answer: str = "?", known: Collection[str] | None = None
    ) -> None:
        self._forgotten, self._answer, self._known = forgotten, answer, known
        self.parts: list[tuple[str, list[str]]] = []
        """The labels that the artifact was asked for, and the ids of their items."""
        self.of_reference: list[str] = []
        """The labels that the reference was asked for."""

    def ask_reference(self, probe: Any, label: str) -> tuple[Work, Outcome]:
        self.of_reference.append(label)
        items = probe.file.items
        known = {item.id for item in items} if self._known is None else self._known
        said = (item.answer if item.id in known else "?" for item in items)
        return Work(), make_outcome(make_answers(*said))

    def ask_artifact(self, probe: Any, work: Work, label: str) -> Outcome:
        items = probe.file.items
        self.parts.append((label, [item.id for item in items]))
        own = [self._answer if item.id in self._forgotten else item.answer for item in items]
        return make_outcome(make_answers(*own))


def ask(task: Task, limit: Limit, sides: Answering, family: int = 1) -> InterimResult:
    found = ask_in_parts(task, Rows.of([CHECK], {CHECK: limit}, family), sides).measured
    assert isinstance(found, InterimResult)
    return found


def every(step: int) -> list[str]:
    """Ids of one item in so many: lines of the file, from 1."""
    return [str(number) for number in range(1, ITEMS + 1, step)]


def test_an_artifact_that_lost_nothing_is_asked_half(task: Task) -> None:
    sides = Answering([])
    found = ask(task, certified(), sides)
    record = judge_row(CHECK, certified(), found)

    assert record.verdict is Verdict.PASS
    assert record.estimate is not None
    assert record.estimate.n == 600
    assert record.details["sequential"] == {"look": 2, "looks": 4, "of_items": ITEMS}
    assert [label for label, _ in sides.parts] == ["part 1 of 4", "part 2 of 4"]
    assert "(95 % CI, look 2 of 4, n = 600 items; team.yaml:3)" in record.message


def test_one_that_lost_a_quarter_fails_at_the_first_look(task: Task) -> None:
    sides = Answering(every(4))
    record = judge_row(CHECK, certified(), ask(task, certified(), sides))
    assert record.verdict is Verdict.FAIL
    assert record.estimate is not None
    assert record.estimate.n == 300
    assert len(record.details["worst"]) == 5


def test_one_at_the_limit_is_asked_everything_and_nothing_twice(task: Task) -> None:
    sides = Answering(every(50))
    record = judge_row(CHECK, certified(), ask(task, certified(), sides))
    asked = [name for _, names in sides.parts for name in names]
    assert record.verdict is Verdict.INCONCLUSIVE
    assert record.estimate is not None
    assert (record.estimate.n, record.estimate.value) == (ITEMS, -0.02)
    assert sorted(asked, key=int) == [item.id for item in task.file.items]


def test_the_order_is_random_and_the_same_for_every_artifact(task: Task) -> None:
    """A file that is sorted by difficulty would decide by its easy half."""
    one, other = Answering([]), Answering(every(50))
    ask(task, certified(), one)
    ask(task, certified(0.03, level=0.9), other)
    first = [int(name) for name in one.parts[0][1]]
    assert first != sorted(first)
    assert np.mean(first) == pytest.approx(ITEMS / 2, abs=3 * ITEMS / np.sqrt(12 * 300))
    assert one.parts[:1] == other.parts[:1]


def test_the_interval_is_that_of_the_plan_and_no_narrower(task: Task) -> None:
    found = ask(task, certified(), Answering([]))
    estimate = found.estimate(CHECK, 0.95, {})
    plain = found.measured.estimate(CHECK, 0.95, {})
    assert isinstance(estimate, Estimate)
    assert isinstance(plain, Estimate)
    assert estimate.low < plain.low
    assert estimate.p_value is not None
    assert plain.p_value is not None
    assert estimate.p_value >= plain.p_value


def test_what_is_reported_is_of_the_items_that_were_asked(task: Task) -> None:
    sides = Answering(every(100))
    found = ask(task, certified(0.05), sides)
    names = [name for _, part in sides.parts for name in part]
    own = task.take([int(name) - 1 for name in names])
    details = found.details(CHECK)
    assert len(names) < ITEMS
    assert details["items"] == own.file.digest != task.file.digest
    assert details["lost"] == len({*names} & {*every(100)})
    assert all(int(one["prompt"].split()[0]) % 100 == 0 for one in details["worst"])


def alarm(drop: float = 0.02) -> Limit:
    return dataclasses.replace(certified(drop), rule="alarm")


def test_an_alarm_goes_off_as_soon_as_damage_is_shown_and_beyond_the_limit(task: Task) -> None:
    sides = Answering(every(4))
    record = judge_row(CHECK, alarm(), ask(task, alarm(), sides, family=10))
    assert record.verdict is Verdict.FAIL
    assert len(sides.parts) == 1
    assert "look 1 of 4, n = 300 items" in record.message


def test_an_alarm_of_many_takes_more_to_go_off(task: Task) -> None:
    """Its p-value counts for all of them, before the others are known."""
    few, many = Answering(every(25)), Answering(every(25))
    ask(task, alarm(), few)
    ask(task, alarm(), many, family=10**9)
    assert len(few.parts) < len(many.parts)


def test_an_alarm_ends_where_the_interval_holds_the_limit_whole(task: Task) -> None:
    sides = Answering([])
    record = judge_row(CHECK, alarm(0.03), ask(task, alarm(0.03), sides))
    assert record.verdict is Verdict.PASS
    assert record.details["sequential"]["look"] < 4


def test_a_row_without_a_limit_is_asked_at_once(task: Task) -> None:
    sides = Answering([])
    found = ask_in_parts(task, Rows.of([CHECK], {}), sides)
    assert isinstance(found.measured, PairedAnswers)
    assert [label for label, _ in sides.parts] == [""]
    assert sides.parts[0][1] == [item.id for item in task.file.items]


def test_a_task_that_says_so_is_asked_at_once(task: Task) -> None:
    sides = Answering([])
    whole = dataclasses.replace(task, is_sequential=False)
    found = ask_in_parts(whole, Rows.of([CHECK], {CHECK: certified()}), sides)
    assert isinstance(found.measured, PairedAnswers)


def test_what_the_reference_does_not_know_is_asked_of_no_artifact(task: Task) -> None:
    sides = Answering([], known=every(50))
    with pytest.raises(NotApplicable, match="got 2% right"):
        ask(task, certified(), sides)
    assert sides.parts == []
    assert sides.of_reference == [f"part {number} of 4" for number in (1, 2, 3, 4)]


def test_whether_it_is_known_hangs_on_all_items_and_not_on_the_first_part(task: Task) -> None:
    sides = Answering([])
    ask(task, certified(), sides)
    first = {*sides.parts[0][1]}
    late = Answering([], known=[item.id for item in task.file.items if item.id not in first])
    found = ask(task, certified(), late)
    assert late.of_reference == [f"part {number} of 4" for number in (1, 2, 3, 4)]
    assert found.looks.look > 1


def test_every_row_that_rests_on_the_answers_has_to_be_decided(tmp_path: Path) -> None:
    """Two rows of one probe, one of them undecided to the end; picked or not plays no part."""
    limits = {check: dataclasses.replace(alarm(), check=check) for check in ("a", "b")}
    values = {"a": (0.5, 0.4, 0.6), "b": (0.5, -0.1, 1.1)}

    class Two:
        def estimate(self, check: str, level: float, parameters: object) -> Estimate:
            value, low, high = values[check]
            return Estimate(
                value=value, low=low, high=high, level=level, n=9, unit="x", method="planted"
            )

        def details(self, check: str) -> dict[str, Any]:
            return {}

    assert Rows.of(["a"], limits).are_decided(Two())
    assert not Rows.of(["a", "b"], limits).are_decided(Two())
    assert not Rows.of(["c"], limits).can_stop


def test_parts_are_joined_in_the_order_in_which_they_were_asked() -> None:
    spans = [Span(ids=np.arange(size), first=0) for size in (3, 4, 5)]
    prompts = [Prompt(ids=np.arange(size), max_tokens=2) for size in (1, 2)]
    parts = [
        Work(
            spans=(spans[0], spans[1]),
            batches=(Batch(prompts=(prompts[0],), batch_size=1), Batch(prompts=(prompts[0],))),
            ranges=(ScoredRange(member="en", span=1, start=1, stop=4),),
        ),
        Work(
            spans=(spans[2],),
            batches=(Batch(prompts=(prompts[1],), batch_size=1), Batch(prompts=(prompts[1],))),
            ranges=(ScoredRange(member="de", span=0, start=1, stop=5),),
        ),
    ]
    whole = join_works(parts)
    assert [len(span.ids) for span in whole.spans] == [3, 4, 5]
    assert [(scored.member, scored.span) for scored in whole.ranges] == [("en", 1), ("de", 2)]
    assert [batch.batch_size for batch in whole.batches] == [1, 16]
    assert [[len(one.ids) for one in batch.prompts] for batch in whole.batches] == [[1, 2]] * 2

    said = join_outcomes([make_outcome(make_answers("a", "b")), make_outcome(make_answers("c"))])
    assert said.answers[0].texts == ("a", "b", "c")
    assert len(said.answers[0].ends) == len(said.answers[0].ids) == 3


def by_chance(task: Task, rng: np.random.Generator, lost: float) -> InterimResult:
    forgotten = {item.id for item in task.file.items if rng.random() < lost}
    return ask(task, certified(), Answering(forgotten))


@pytest.mark.slow
def test_peeking_certifies_what_lost_the_margin_no_more_often_than_stated(task: Task) -> None:
    """400 artifacts that truly lost 2 points, through the whole of it: at most 2.5 % may pass."""
    rng = np.random.default_rng(20_261_126)

    def judge(found: InterimResult) -> Verdict:
        return judge_row(CHECK, certified(), found).verdict

    passed = sum(judge(by_chance(task, rng, 0.02)) is Verdict.PASS for _ in range(400))
    assert passed / 400 <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / 400)
