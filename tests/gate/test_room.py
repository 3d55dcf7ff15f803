"""A row that would pass whatever the artifact answers is none: it needs a reference with room."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binomtest

from qgate.errors import NotApplicable
from qgate.gate.row import judge_row
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.looks import InterimResult
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.measure.tasks.paired_scores import PairedScores
from qgate.records import Limit, SourceLine, Verdict
from qgate.runtimes.messages import NO_END
from qgate.stats import Looks, look_ends
from tests.support.outcomes import END, make_answers, make_outcome, pair

if TYPE_CHECKING:
    from qgate.measure.measurement import Measurement

N = 96


def limit(check: str, **changes: Any) -> Limit:
    bound = {"max": 0.05} if check == "edge.repetition" else {"min": -0.05}
    return Limit(
        check=check, source=SourceLine("team.yaml", 3), **{"rule": "alarm", **bound, **changes}
    )


def flags(good: int, n: int = N, *, is_good: bool = True, **more: Any) -> PairedAnswers:
    """Both sides do well on the same `good` of n prompts."""
    found = (np.arange(n) < good) == is_good
    texts = ("",) * n
    return PairedAnswers(
        artifact=found,
        reference=found,
        is_good=is_good,
        prompts=texts,
        artifact_texts=texts,
        reference_texts=texts,
        **more,
    )


def is_judged(check: str, measured: Measurement, family: int = 1, **changes: Any) -> bool:
    try:
        return judge_row(check, limit(check, **changes), measured, family).verdict is Verdict.PASS
    except NotApplicable as error:
        why = str(error).removeprefix(f"{check}: ")
        if not why.startswith(("nothing could fail it: got ", "too little to lose: got ")):
            raise
        return False


def refusal(check: str, measured: Measurement, family: int = 1, **changes: Any) -> str:
    with pytest.raises(NotApplicable) as caught:
        judge_row(check, limit(check, **changes), measured, family)
    assert "reference_share" in caught.value.details
    return str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 9, 40])
@pytest.mark.parametrize(
    ("check", "is_good"), [("edge.termination", True), ("edge.repetition", False)]
)
def test_so_much_has_to_be_there_that_its_loss_would_fail(
    check: str, is_good: bool, size: int
) -> None:
    rooms = {good: is_judged(check, flags(good, is_good=is_good), size) for good in range(20)}

    for good, judged in rooms.items():
        p_value = binomtest(good, good, alternative="greater").pvalue if good else 1.0
        assert judged == (good / N > 0.05 and p_value * size <= 0.05), good


def test_a_reference_that_never_ends_says_nothing_of_ends() -> None:
    assert refusal("edge.termination", flags(0)) == (
        "edge.termination: nothing could fail it: got 0.0 pp of an artifact that loses all it can;"
        " expected worse than -5.0 pp (team.yaml:3). Raise edge.answer_tokens, or write"
        " edge.termination: off"
    )


def test_what_could_not_show_is_told_from_what_may_be_lost() -> None:
    assert refusal("edge.repetition", flags(5, is_good=False), 2) == (
        "edge.repetition: too little to lose: got +5.2 pp of an artifact that loses all it can"
        " (exact McNemar p = 0.06, n = 96 answers; team.yaml:3); expected p <= 0.05. Write"
        " edge.repetition: off"
    )
    assert refusal("accuracy.a", flags(4, 20)).endswith("; expected p <= 0.05. Add items")


def test_a_task_that_the_reference_hardly_knows_is_told_from_one_it_knows() -> None:
    known = refusal("accuracy.a", flags(2, 500), rule="certify", min=-0.01)

    assert known == (
        "accuracy.a: nothing could fail it: got -0.4 pp of an artifact that loses all it can;"
        " expected worse than -1.0 pp (team.yaml:3). Name tasks that it knows, or write"
        " min_reference: 0"
    )


def test_who_says_how_little_the_reference_has_to_know_is_judged() -> None:
    assert not is_judged("accuracy.a", flags(0))
    assert is_judged("accuracy.a", flags(0, min_reference=0.0))


def test_many_groups_of_items_have_the_same_room() -> None:
    groups = tuple(str(at // 4) for at in range(N))

    assert not is_judged("accuracy.a", flags(4, groups=groups))
    assert is_judged("accuracy.a", flags(48, groups=groups))


def test_few_groups_that_the_reference_knows_unevenly_have_room() -> None:
    """Six texts of ten questions: all lost varies more between texts than an even loss does."""
    known = np.concatenate([np.arange(10) < right for right in (8, 9, 10, 1, 1, 9)])
    groups = tuple(str(at // 10) for at in range(60))
    measured = dataclasses.replace(flags(0, 60), artifact=known, reference=known, groups=groups)

    assert is_judged("accuracy.a", measured, min=-0.03)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (np.linspace(0.0, 0.08, N), False),
        (np.linspace(0.1, 0.5, N), True),
        (np.where(np.arange(N) < 4, 1.0, 0.02), True),  # all lost varies more than an even loss
    ],
    ids=["below the limit", "above it", "above it by a few"],
)
def test_scores_have_room_where_they_are_above_the_limit(found: np.ndarray, expected: bool) -> None:
    texts = ("",) * N
    measured = PairedScores(
        artifact=found,
        reference=found,
        prompts=texts,
        artifact_texts=texts,
        reference_texts=texts,
    )

    assert is_judged("accuracy.a", measured, 9) is expected


@pytest.mark.parametrize(("good", "expected"), [(25, False), (26, True), (400, True)])
def test_what_is_certified_has_room_where_so_much_is_there_as_may_not_be_lost(
    good: int, expected: bool
) -> None:
    ends = look_ends(500)
    answers = flags(good, 500)
    staged = InterimResult(measured=answers, looks=Looks(ends=ends, look=len(ends)))

    assert is_judged("accuracy.a", answers, rule="certify") is expected
    assert is_judged("accuracy.a", staged, rule="certify") is expected


def test_of_free_answers_each_row_knows_its_own_worst() -> None:
    said = make_answers(ids=[list(range(60))] * N, ends=[NO_END] * N)
    answers = make_outcome(said, end_tokens=(END,))
    probe = FreeRunning(prompts=("",) * N, answer_tokens=60)
    measured = probe.read(pair(answers, dataclasses.replace(answers)))

    assert not is_judged("edge.termination", measured)
    assert is_judged("edge.repetition", measured)
    assert is_judged("edge.answer_length", measured, min=None, max=1.1)
