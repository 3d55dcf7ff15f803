"""A row that would pass whatever the artifact answers is none: it needs an original with room."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.stats import binomtest

from qgate.alarms import correct
from qgate.errors import MeasurementError, NotApplicable
from qgate.gate import judge_row
from qgate.measure.edge.free_running import FreeRunning
from qgate.measure.paired_answers import PairedAnswers
from qgate.measure.paired_scores import PairedScores
from qgate.measure.work import NO_END
from qgate.records import Limit, SourceLine, Verdict
from qgate.stages import Looked
from qgate.stats import plan_looks
from tests.measure.outcomes import END, make_answers, make_outcome, pair

if TYPE_CHECKING:
    from qgate.measure.measurement import Measurement

N = 96
OWN, SHIPPED = SourceLine("team.yaml", 3), SourceLine("thresholds/default.yaml", 14, True)


def limit(check: str, source: SourceLine = OWN, **changes: Any) -> Limit:
    bound = {"max": 0.05} if check == "edge.repetition" else {"min": -0.05}
    return Limit(check=check, source=source, **{"rule": "alarm", **bound, **changes})


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


def in_family(
    measured: Measurement, check: str, size: int, others: PairedAnswers | None = None
) -> Measurement:
    """As one of so many alarms; without `others` none of them shows anything."""
    family = {check: limit(check), **{f"accuracy.t{at}": limit("a") for at in range(size - 1)}}
    return correct(check, measured, family, lambda _: others or flags(N))


def is_judged(check: str, measured: Measurement, **changes: Any) -> bool:
    try:
        return judge_row(check, limit(check, **changes), measured).verdict is Verdict.PASS
    except MeasurementError as error:
        if not str(error).startswith(f"{check}: nothing could fail it: got "):
            raise
        return False


@pytest.mark.parametrize("size", [1, 2, 9, 40])
@pytest.mark.parametrize(
    ("check", "is_good"), [("edge.termination", True), ("edge.repetition", False)]
)
def test_so_much_has_to_be_there_that_its_loss_would_fail(
    check: str, is_good: bool, size: int
) -> None:
    rooms = {
        good: is_judged(check, in_family(flags(good, is_good=is_good), check, size))
        for good in range(20)
    }

    for good, judged in rooms.items():
        p_value = binomtest(good, good, alternative="greater").pvalue if good else 1.0
        assert judged == (good / N > 0.05 and p_value * size <= 0.05), good


def test_what_is_lost_beside_other_losses_fails_however_little_there_was() -> None:
    """Holm's method asks less of the last alarm than of the first."""
    measured, others = flags(5).at_worst("edge.termination"), flags(N).at_worst("accuracy.t0")

    alone = in_family(measured, "edge.termination", 9)
    beside = in_family(measured, "edge.termination", 9, others)

    assert judge_row("edge.termination", limit("edge.termination"), beside).verdict is Verdict.FAIL
    assert not is_judged("edge.termination", alone)


def test_an_original_that_never_ends_says_nothing_of_ends() -> None:
    with pytest.raises(NotApplicable) as caught:
        judge_row("edge.termination", limit("edge.termination", SHIPPED), flags(0))

    assert str(caught.value) == (
        "edge.termination: nothing could fail it: got 0.0 pp of an artifact that loses all it can;"
        " expected that to fail -5.0 pp (exact McNemar p = 1, n = 96 answers;"
        " thresholds/default.yaml:14). Raise edge.answer_tokens, or write edge.termination: off"
    )


def test_a_row_that_somebody_asked_for_is_an_error_instead() -> None:
    with pytest.raises(MeasurementError) as caught:
        judge_row("edge.repetition", limit("edge.repetition"), flags(4, is_good=False))

    assert type(caught.value) is MeasurementError
    assert str(caught.value) == (
        "edge.repetition: nothing could fail it: got +4.2 pp of an artifact that loses all it can;"
        " expected that to fail +5.0 pp (exact McNemar p = 0.06, n = 96 answers; team.yaml:3)."
        " Write edge.repetition: off"
    )


def test_a_task_that_the_original_hardly_knows_is_told_from_one_it_knows() -> None:
    with pytest.raises(MeasurementError) as caught:
        judge_row("accuracy.a", limit("accuracy.a", rule="certify", min=-0.01), flags(2, 500))

    assert str(caught.value) == (
        "accuracy.a: nothing could fail it: got -0.4 pp of an artifact that loses all it can;"
        " expected that to fail -1.0 pp (95 % CI, n = 500 items; team.yaml:3). Name tasks that the"
        " model is used for, or write min_reference: 0"
    )


def test_who_says_how_little_the_original_has_to_know_is_judged() -> None:
    assert not is_judged("accuracy.a", flags(0))
    assert is_judged("accuracy.a", flags(0, more={"min_reference": 0.0}))


def test_groups_of_items_have_the_same_room() -> None:
    groups = tuple(str(at // 4) for at in range(N))

    assert not is_judged("accuracy.a", flags(4, groups=groups))
    assert is_judged("accuracy.a", flags(48, groups=groups))


@pytest.mark.parametrize(("mean", "expected"), [(0.0, False), (0.04, False), (0.3, True)])
def test_scores_have_room_where_they_are_above_the_limit(mean: float, expected: bool) -> None:
    found = mean * np.linspace(0.5, 1.5, N)
    texts = ("",) * N
    measured = PairedScores(
        artifact=found,
        reference=found,
        prompts=texts,
        artifact_texts=texts,
        reference_texts=texts,
    )

    assert is_judged("accuracy.a", measured) is expected


@pytest.mark.parametrize(("good", "expected"), [(25, False), (26, True), (400, True)])
def test_what_is_certified_has_room_where_so_much_is_there_as_may_not_be_lost(
    good: int, expected: bool
) -> None:
    plan = plan_looks(500, 0.95)
    answers = flags(good, 500)
    staged = Looked(answers=answers, plan=plan, look=len(plan.looks))

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
