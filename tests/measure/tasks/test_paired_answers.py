"""Yes-or-no answers of both sides in pairs: the difference, the test, what is shown of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from qgate import stats
from qgate.errors import MeasurementError
from qgate.gate.row import judge_row
from qgate.measure.tasks.paired_binary import PairedAnswers
from qgate.records import Limit, SourceLine, Verdict

N = 200


def make(lost: int, gained: int, *, is_good: bool = True, n: int = N, **more: Any) -> PairedAnswers:
    """Of n prompts the first `lost` are worse with the artifact, the next `gained` better."""
    better = np.arange(n) % 4 != 0
    worse_side = np.where(np.arange(n) < lost + gained, np.arange(n) < lost, ~better)
    artifact_is_right = ~worse_side
    reference_is_right = np.where(np.arange(n) < lost + gained, ~artifact_is_right, better)
    return PairedAnswers(
        artifact=artifact_is_right == is_good,
        reference=reference_is_right == is_good,
        is_good=is_good,
        prompts=tuple(f"prompt {number}" for number in range(n)),
        artifact_texts=tuple(f"artifact {number}" for number in range(n)),
        reference_texts=tuple(f"reference {number}" for number in range(n)),
        **more,
    )


FLIPS = [(0, 0), (1, 0), (0, 1), (12, 3), (3, 12), (7, 7), (200, 0), (0, 200)]


@pytest.mark.parametrize("is_good", [True, False])
@pytest.mark.parametrize(("lost", "gained"), FLIPS)
def test_lost_and_gained_count_what_only_one_side_did_well(
    lost: int, gained: int, is_good: bool
) -> None:
    answers = make(lost, gained, is_good=is_good)

    assert np.flatnonzero(answers.is_lost).tolist() == list(range(lost))
    assert np.flatnonzero(answers.is_gained).tolist() == list(range(lost, lost + gained))
    details = answers.details("edge.math")
    assert (details["lost"], details["gained"]) == (lost, gained)


@pytest.mark.parametrize("is_good", [True, False])
@pytest.mark.parametrize(("lost", "gained"), FLIPS)
def test_the_estimate_is_the_paired_difference_and_the_exact_test_of_damage(
    lost: int, gained: int, is_good: bool
) -> None:
    answers = make(lost, gained, is_good=is_good)

    found = answers.estimate("edge.math", 0.95, {})

    by_hand = stats.paired_difference(answers.artifact, answers.reference, level=0.95)
    sign = 1 if is_good else -1
    assert found.value == pytest.approx(sign * (gained - lost) / N)
    assert (found.value, found.low, found.high) == (by_hand.value, by_hand.low, by_hand.high)
    assert (found.n, found.level, found.unit) == (N, 0.95, "difference")
    flips = lost + gained
    exact = binomtest(lost, flips, alternative="greater").pvalue if flips else 1.0
    assert found.p_value == pytest.approx(exact)


def test_shares_are_of_the_flag_and_not_of_what_is_good() -> None:
    loops = make(12, 3, is_good=False).details("edge.repetition")
    right = make(12, 3).details("edge.math")

    assert loops["share"] == pytest.approx(1 - right["share"])
    assert right["share"] - right["reference_share"] == pytest.approx(-9 / N)
    assert loops["share"] - loops["reference_share"] == pytest.approx(9 / N)


def test_the_smallest_drop_that_would_show_is_told() -> None:
    # what flips without damage flips both ways, so that damage itself does not count
    same = stats.detectable_drop(N, 6, alpha=0.05)

    assert make(3, 3).details("edge.math")["detectable_drop"] == same
    assert make(40, 3).details("edge.math")["detectable_drop"] == same
    assert make(3, 40).details("edge.math")["detectable_drop"] == same
    assert make(20, 20).details("edge.math")["detectable_drop"] > same


def test_the_first_lost_prompts_are_shown() -> None:
    worst = make(12, 3).details("edge.math")["worst"]

    assert worst == [
        {
            "prompt": f"prompt {number}",
            "reference": f"reference {number}",
            "artifact": f"artifact {number}",
        }
        for number in range(5)
    ]
    assert make(0, 12).details("edge.math")["worst"] == []
    assert len(make(2, 12).details("edge.math")["worst"]) == 2


def test_the_worst_lost_prompts_come_first_and_equals_in_their_order() -> None:
    margins_nats = np.zeros(N)
    margins_nats[[3, 8, 1, 9]] = [5.0, 7.0, 0.5, 5.0]
    margins_nats[150] = 99.0  # not lost

    worst = make(12, 3, margins_nats=margins_nats).details("edge.math")["worst"]

    assert [one["prompt"] for one in worst] == [f"prompt {number}" for number in (8, 3, 9, 1, 0)]


def test_right_answers_are_shown_where_there_are_such() -> None:
    expected = tuple(f"right {number}" for number in range(N))

    [shown] = make(1, 0, expected=expected).details("edge.math")["worst"]

    assert shown["expected"] == "right 0"


def test_of_long_texts_the_end_of_the_prompt_and_the_beginning_of_the_answers_are_shown() -> None:
    answers = PairedAnswers(
        artifact=np.arange(N) > 0,
        reference=np.ones(N, dtype=bool),
        is_good=True,
        prompts=("a" * 900 + "the question",) * N,
        artifact_texts=("wrong " + "b" * 900,) * N,
        reference_texts=("right " + "c" * 900,) * N,
        expected=("d" * 900,) * N,
    )

    [shown] = answers.details("edge.math")["worst"]

    assert {len(text) for text in shown.values()} == {400}
    assert shown["prompt"].endswith("the question")
    assert shown["artifact"].startswith("wrong b")
    assert shown["reference"].startswith("right c")


def test_details_are_json_and_hold_what_else_is_told() -> None:
    details = make(12, 3, more={"items": "sha256:1", "side_by_side": 8}).details("edge.math")

    assert json.loads(json.dumps(details)) == details
    assert (details["items"], details["side_by_side"]) == ("sha256:1", 8)


def test_a_lost_answer_is_refused() -> None:
    answers = PairedAnswers(
        artifact=np.ones(N - 1, dtype=bool),
        reference=np.ones(N, dtype=bool),
        is_good=True,
        prompts=(),
        artifact_texts=(),
        reference_texts=(),
    )

    with pytest.raises(MeasurementError, match="got 199 and 200 answers; expected pairs"):
        answers.estimate("edge.math", 0.95, {})


def test_so_few_prompts_that_nothing_could_show_are_refused() -> None:
    with pytest.raises(
        MeasurementError, match=r"too few items to show any: got n = 5 .* Add items"
    ):
        make(1, 0, n=5).details("edge.math")


@pytest.mark.parametrize(
    ("n", "flips", "family"),
    [(20, 6, 13), (32, 16, 13), (16, 4, 13), (16, 8, 1), (16, 8, 13), (32, 20, 13)],
)
def test_an_alarm_on_few_answers_that_flip_both_ways_would_have_seen_nothing_for_sure(
    n: int, flips: int, family: int
) -> None:
    """It can fail yet: one artifact that lost every answer is told."""
    check, source = "edge.repetition", SourceLine("a.yaml", 1)
    alarm = Limit(check=check, rule="alarm", max=0.05, source=source)
    half = flips // 2
    answers = make(half, half, n=n, is_good=False)

    def judged(measured: PairedAnswers) -> Any:
        return judge_row(check, alarm, measured, family)

    with pytest.raises(MeasurementError):
        stats.detectable_drop(n, flips, alpha=0.05 / family)
    silent = judged(answers)

    assert silent.verdict is Verdict.PASS
    assert silent.details["detectable_drop"] is None
    assert silent.details["would_have_seen"] == "nothing for sure, of so few answers"
    assert json.loads(json.dumps(silent.details)) == silent.details
    damaged = judged(make(n, 0, n=n, is_good=False))
    assert damaged.verdict is Verdict.FAIL
    assert "would_have_seen" not in damaged.details


def test_an_alarm_on_enough_answers_says_what_it_would_have_seen() -> None:
    limit = Limit(check="edge.math", rule="alarm", min=-0.03, source=SourceLine("a.yaml", 1))

    silent = judge_row("edge.math", limit, make(3, 3))

    drop = stats.detectable_drop(N, 6, alpha=0.05)
    assert silent.details["would_have_seen"] == f"{-100 * drop:.2f} pp or less"
